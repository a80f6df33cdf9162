"""The content of one PASCAL VOC file: objects by tag name, checked. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import defusedxml.ElementTree

from smoothiou.data.images import check_file_name
from smoothiou.data.records import Box
from smoothiou.errors import DataError
from smoothiou.files import check_word, read_bytes, refuse_links_out, short

MAX_BYTES = 2**24
"""Of an XML file; the largest of PASCAL's has 20 kB."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One XML file: boxes as annotated but 0-based with an open end, not yet compared with the image."""

    where: str
    boxes: tuple[Box, ...]
    file_name: str
    size: tuple[int, int] | None


def read_annotation(path: Path, *, root: Path) -> Annotation:
    """Return the objects of one XML file; parts nested in an object are no objects.

    Raises:
        DataError: not XML, reached through a link that leads out of the data folder, or an object without a name or
            without four numbers; with file and line or object.
    """
    where = path.relative_to(root).as_posix()
    refuse_links_out(path, root=root, where=where)
    try:
        tree = defusedxml.ElementTree.fromstring(read_bytes(path, most=MAX_BYTES))
    except ParseError as error:
        raise DataError(f"{path}, line {error.position[0]}: not well-formed XML: {error}.", hint="Repair it.") from None
    except defusedxml.DefusedXmlException:
        raise DataError(f"{path}: the XML declares entities, which are not read.", hint="Remove its DOCTYPE.") from None
    except (OSError, ValueError, LookupError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read as XML: {reason}.") from None
    file_name = (tree.findtext("filename") or "").strip()
    if file_name:
        check_file_name(file_name, where=str(path))
    boxes = [_read_object(node, f"{where}: object {number}") for number, node in enumerate(tree.findall("object"), 1)]
    return Annotation(where, tuple(boxes), file_name, _read_size(tree))


def _read_object(node: Element, where: str) -> Box:
    label = (node.findtext("name") or "").strip()
    if not label:
        raise DataError(f"{where} has no name.", hint="Write its class into <name>.")
    check_word(label, what="class", where=where)
    corners = []
    # By name: the order of the four tags differs between tools and years.
    for tag in ("xmin", "ymin", "xmax", "ymax"):
        text = node.findtext(f"bndbox/{tag}")
        try:
            corners.append(float(text or ""))
        except ValueError:
            raise DataError(
                f"{where} ({label}): <{tag}> must be a number, got {short(text)}.", hint="Repair it."
            ) from None
    xmin, ymin, xmax, ymax = corners
    difficult = (node.findtext("difficult") or "").strip().lower() in ("1", "true", "yes")
    return Box(xyxy=(xmin - 1, ymin - 1, xmax, ymax), label=label, difficult=difficult, where=where)


def _read_size(tree: Element) -> tuple[int, int] | None:
    try:
        return int(float(tree.findtext("size/width") or "")), int(float(tree.findtext("size/height") or ""))
    except (ValueError, OverflowError):
        return None
