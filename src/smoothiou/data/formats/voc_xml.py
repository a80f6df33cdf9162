"""One XML file of PASCAL VOC: what is understood is read, what is not is named. No torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import defusedxml.ElementTree

from smoothiou.data.foreign import FOREIGN_ROOTS
from smoothiou.data.image_finder import check_file_name
from smoothiou.data.listing import cached_by_file
from smoothiou.data.records import Box
from smoothiou.errors import DataError
from smoothiou.files import (
    check_word,
    open_regular,
    read_bytes,
    read_flag,
    read_number,
    read_size,
    reason_of,
    refuse_links_out,
    short,
)

MAX_BYTES = 2**24
"""Of an XML file; the largest of PASCAL's has 20 kB."""
_KNOWN = {"folder", "filename", "path", "source", "owner", "size", "segmented", "object"}
"""What an annotation may consist of."""
_NAMES = {"folder", "filename", "path"}
"""Those of them that may hold any numbers."""
_BOXES = {"object", "bndbox", "robndbox", "box", "bbox", "polygon", "xmin", "xtl"}
"""What holds boxes, and is read only as `object/bndbox`."""
_FLAGS = {"difficult", "isdifficult", "ignore", "iscrowd", "crowd", "deleted"}
"""In small letters, without signs."""
_NUMBER = r"(?:[a-z]\w*\s*[=:]\s*)?-?\d+(?:\.\d+)?"
_BOX_AS_TEXT = re.compile(rf"(?<![\w.:/-]){_NUMBER}(?:[\s,;]+{_NUMBER}){{3}}(?![\w:/-])", re.IGNORECASE)
"""Four numbers in a row, as `10 10 50 50` and `xmin=10, ymin=10, xmax=50, ymax=50`, but no date with a time."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One XML file: boxes as annotated but 0-based with an open end, not yet compared with the image."""

    where: str
    boxes: tuple[Box, ...]
    file_name: str
    size: tuple[int, int] | None


def xml_root(path: Path) -> str:
    """Return the root's tag in small letters, without its namespace, having read no further; "" if it has none."""
    try:
        with open_regular(path) as content:
            _, root = next(defusedxml.ElementTree.iterparse(content, events=("start",)))
    except (DataError, ParseError, defusedxml.DefusedXmlException, OSError, ValueError, LookupError, StopIteration):
        return ""
    return root.tag.rpartition("}")[2].lower()


def read_annotation(path: Path, *, root: Path) -> Annotation:
    """Return the objects of one XML file; parts nested in an object are no objects.

    Raises:
        DataError: not XML, reached through a link that leads out of the data folder, or an object without a name or
            without four numbers; with file and line or object.
    """
    where = path.relative_to(root).as_posix()
    return _read(refuse_links_out(path, root=root, where=where), where)


@cached_by_file(2**15)  # every split is opened anew, and each wants the classes of all
def _read(path: Path, where: str) -> Annotation:
    try:
        tree = defusedxml.ElementTree.fromstring(read_bytes(path, most=MAX_BYTES))
    except ParseError as error:
        raise DataError(f"{path}, line {error.position[0]}: not well-formed XML: {error}.", hint="Repair it.") from None
    except defusedxml.DefusedXmlException:
        raise DataError(f"{path}: the XML declares entities, which are not read.", hint="Remove its DOCTYPE.") from None
    except (OSError, ValueError, LookupError) as error:
        raise DataError(f"{path}: cannot be read as XML: {reason_of(error)}.") from None
    _refuse_other_shapes(tree, where)
    file_name = _text(tree, "filename", where)
    if file_name:
        check_file_name(file_name, where=str(path))
    boxes = [_read_object(node, f"{where}: object {number}") for number, node in enumerate(tree.findall("object"), 1)]
    return Annotation(where, tuple(boxes), file_name, _read_size(tree, where))


def _refuse_other_shapes(tree: Element, where: str) -> None:
    """Stop at XML that would count as an image without boxes, only because its boxes stand elsewhere.

    Tags lose their namespaces and capitals, and are read then.

    Raises:
        DataError: another root, nothing that is understood, or boxes where none are read.
    """
    for node in tree.iter():
        node.tag = node.tag.rpartition("}")[2].lower()
    if tree.tag != "annotation":
        hint = "One file of PASCAL VOC holds the <annotation> of one image."
        if tree.find("object") is None:
            hint = FOREIGN_ROOTS.get(tree.tag, hint)
        raise DataError(f"{where}: expected the root <annotation>, got {short(tree.tag)}.", hint=hint)
    objects = tree.findall("object")
    if not any(node.tag in _KNOWN for node in tree):
        raise DataError(
            f"{where}: nothing in <annotation> is understood.", hint=f"It holds {', '.join(sorted(_KNOWN))}."
        )
    hint = "Boxes stand in <annotation><object><bndbox>."
    for node in (node for node in tree if node.tag != "object"):
        if inner := next((each.tag for each in node.iter() if each.tag in _BOXES), ""):
            element = f"<{inner}> in <{node.tag}>" if inner != node.tag else f"<{inner}>"
            raise DataError(f"{where}: {element} is not understood, and may hold boxes.", hint=hint)
        is_unknown = node.tag not in _KNOWN and (len(node) or node.attrib)
        is_text = node.tag not in _NAMES and any(map(_BOX_AS_TEXT.search, node.itertext()))
        named = any(each.tag in ("name", "label", "class", "category") for each in node.iter())
        is_box = is_unknown and named and sum(read_number(text) is not None for text in node.itertext()) >= 4
        if is_box or (not objects and (is_unknown or is_text)):
            raise DataError(f"{where}: <{node.tag}> is not understood, and may hold boxes.", hint=hint)
    loose = " ".join(text for text in (tree.text, *(node.tail for node in tree)) if text and text.strip())
    if loose and not objects:
        raise DataError(f"{where}: the text {short(loose.strip())} in <annotation> is not understood.", hint=hint)


def _read_object(node: Element, where: str) -> Box:
    label = _text(node, "name", where)
    if not label:
        raise DataError(f"{where} has no name.", hint="Write its class into <name>.")
    where_named = f"{where} ({label})"
    label = check_word(label, what="class", where=where)
    if len(list(node.iter("object"))) > 1:
        raise DataError(f"{where_named}: another <object> stands in it.", hint="Write one behind the other.")
    _refuse_other_flags(node, where_named)
    box = _only(node, "bndbox", where_named)
    corners = []
    for tag in ("xmin", "ymin", "xmax", "ymax"):  # by name, for their order differs between tools and years
        text = None if box is None else _text(box, tag, where_named)
        number = read_number(text)
        if number is None:
            raise DataError(f"{where_named}: <{tag}> must be a number, got {short(text)}.", hint="Repair it.")
        corners.append(number)
    xmin, ymin, xmax, ymax = corners
    difficult = _flag(_text(node, "difficult", where_named), "difficult", where_named)
    return Box(xyxy=(xmin - 1, ymin - 1, xmax, ymax), label=label, difficult=difficult, where=where)


def _refuse_other_flags(node: Element, where: str) -> None:
    """Stop at flags of other tools, or in other places, that are set; only <difficult> is read."""
    flags = [(child.tag, child.text) for child in node if child.tag != "difficult"]
    flags += [
        *node.items(),
        *(("difficult", value) for child in node.findall("difficult") for _, value in child.items()),
    ]
    flags += [(each.findtext("name"), each.findtext("value")) for each in node.iter("attribute")]  # CVAT's
    for name, value in flags:
        if re.sub(r"[\W_]", "", name or "").lower() in _FLAGS and _flag(value, name or "", where):
            raise DataError(
                f"{where}: {name} is set, and only the text of <difficult> is read.",
                hint="Write <difficult>1</difficult>.",
            )


def _flag(text: str | None, name: str, where: str) -> bool:
    word = (text or "").strip().lower() or "0"
    return read_flag({"true": "1", "false": "0"}.get(word, word), name=name, where=where)  # XML's own words


def _read_size(tree: Element, where: str) -> tuple[int, int] | None:
    size = _only(tree, "size", where)
    if size is None:
        return None
    width, height = (_text(size, side, where) for side in ("width", "height"))
    if not (width or height) and (size.attrib or any(side.tag not in ("width", "height", "depth") for side in size)):
        raise DataError(f"{where}: <size> is not understood.", hint="It holds <width>, <height> and <depth>.")
    return read_size(width, height, where=where)


def _only(node: Element, tag: str, where: str) -> Element | None:
    """Return the child with a tag, or None.

    Raises:
        DataError: there are several, of which a reader would see one.
    """
    children = node.findall(tag)
    if len(children) > 1:
        raise DataError(f"{where}: it has several <{tag}>.", hint="Keep one of them.")
    return children[0] if children else None


def _text(node: Element, tag: str, where: str) -> str:
    """Return the text of the child with a tag, or "".

    Raises:
        DataError: there are several, or its value stands in an attribute or in a tag of its own.
    """
    child = _only(node, tag, where)
    text = "" if child is None else (child.text or "").strip()
    if child is not None and not text and (len(child) or child.attrib):
        raise DataError(f"{where}: <{tag}> must hold its value as text.", hint=f"Write <{tag}>...</{tag}>.")
    return text
