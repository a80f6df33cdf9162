"""The way in: which format a folder has, which splits it offers, and reading one of them. No torch."""

from __future__ import annotations

from pathlib import Path

from smoothiou.data import coco, pets, shapes, voc
from smoothiou.data.faults import first_names
from smoothiou.data.records import Dataset
from smoothiou.data.splits import find_split, usual_name
from smoothiou.errors import ConfigError, DataError, did_you_mean

FORMATS = ("voc", "coco", "pets", "shapes")


def load_dataset(
    path: str | Path,
    *,
    format: str | None = None,
    split: str = "train",
    labels: str = "",
    split_seed: int = 0,
    allow_dropped: int = 0,
    images: int = 300,
    size: int = 128,
    loose: float = 0.0,
    long_tail: float = 0.0,
) -> Dataset:
    """Return one split of a data set as records, with every fault counted and named.

    Args:
        path: a data folder, one COCO file, or `shapes` for images drawn on the fly.
        format: `voc`, `coco`, `pets` or `shapes`; None or `auto` looks at the folder.
        split: name of the split; `train` also finds `train2017`, `val` also finds `valid`.
        labels: which labels, where there are several: `head`, `species` or `breed` (`pets` only).
        split_seed: of the 80/20 cut where no split is shipped, and of what `shapes` draws.
        allow_dropped: how many boxes without area or outside their image may be left out.
        images: of the training split (`shapes` only).
        size: side of an image in pixels (`shapes` only).
        loose: how loosely training boxes are drawn, as a share of the box side, 0 to 0.5 (`shapes` only).
        long_tail: 0 for classes of equal number, larger for a longer tail (`shapes` only).

    Raises:
        DataError: the path, the split or the data has something wrong.
        ConfigError: an option has a value that does not exist.
    """
    kind = _format(path, format)
    if labels and kind != "pets":
        raise ConfigError(
            f"data.labels: {labels!r} was asked for, but data in the format {kind} has one kind of labels.",
            hint="Leave it out.",
        )
    if kind == "shapes":
        return shapes.draw(split=split, seed=split_seed, images=images, size=size, loose=loose, long_tail=long_tail)
    root = Path(path).expanduser()
    if kind == "pets":
        return pets.read(root, split=split, split_seed=split_seed, allow_dropped=allow_dropped, labels=labels)
    reader = voc if kind == "voc" else coco
    return reader.read(root, split=split, split_seed=split_seed, allow_dropped=allow_dropped)


def detect_format(path: str | Path) -> str:
    """Return the format of a data set: `voc`, `coco`, `pets` or `shapes`.

    Raises:
        DataError: nothing is at this path, or nothing known; with what was looked for and what was found.
    """
    if str(path) == "shapes":
        return "shapes"
    path = Path(path).expanduser()
    if not path.exists():
        siblings = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
        guess = did_you_mean(path.name, [*siblings, "shapes"])
        raise DataError(f"{path}: no such folder.", hint=guess if guess.startswith("Did") else "")
    if path.is_file():
        if path.suffix.lower() == ".json":
            return "coco"
        raise DataError(f"{path}: expected a folder or a COCO file (.json).", hint="Pass the folder that holds it.")
    # A Pets folder also looks like VOC, and an ImageSets folder settles what a stray JSON would leave open.
    checks = (("pets", pets.is_pets), ("voc", voc.is_voc), ("coco", coco.is_coco))
    for name, fits in checks:
        if fits(path):
            return name
    deeper = [
        child.name for child in sorted(path.iterdir()) if child.is_dir() and any(fits(child) for _, fits in checks)
    ]
    found = sorted(child.name + "/" * child.is_dir() for child in path.iterdir())
    raise DataError(
        f"{path}: no known data set. Looked for ImageSets/Main/*.txt with Annotations/*.xml, or XML files "
        "beside images or in annotations/ (voc); annotations/*.json, *.json and */*.json with images, "
        "annotations and categories (coco); annotations/xmls with annotations/trainval.txt (pets). "
        f"Found: {first_names(found) or 'an empty folder'}.",
        hint=f"Pass {path / deeper[0]} instead." if deeper else "",
    )


def list_splits(path: str | Path, format: str | None = None) -> tuple[str, ...]:
    """Return the names of the splits that have boxes; `train` and `val` where none is shipped.

    Raises:
        DataError: as for `detect_format`, or an annotation cannot be read.
    """
    kind = _format(path, format)
    root = Path(path).expanduser()
    if kind == "shapes":
        return shapes.SPLITS
    return {"voc": voc, "coco": coco, "pets": pets}[kind].split_names(root)


def choose_splits(
    path: str | Path, *, format: str | None = None, train: str = "", val: str = "", test: str = ""
) -> tuple[str, str, str]:
    """Return the splits to learn from, to watch ("" for none) and to measure on, as the data set names them.

    Args:
        path: as for `load_dataset`.
        format: as for `load_dataset`.
        train: empty: `train`.
        val: empty: `val`, if it has boxes and is not the test split; else none.
        test: empty: `test` if it has boxes, else `val`.

    Raises:
        DataError: a split named here has no boxes, or nothing is left for a split that is needed.
    """
    known = list_splits(path, format)
    data = str(path)

    def first(role: str, *names: str) -> str:
        for name in names:
            near = [split for split in known if usual_name(split) == name]
            if near:
                return find_split(name, known, data=data)
        hint = f"Name one with --data.{'train' if role == 'learn from' else 'test'}."
        if role == "test on" and len(known) == 1:
            hint = (
                "Add a val split. Images are cut 80/20 where no split is shipped: in a COCO file whose name tells no "
                "split (annotations.json), or XML beside images without ImageSets."
            )
        raise DataError(
            f"{data}: found no split with boxes to {role}; with boxes: {', '.join(known) or 'none'}.",
            hint=hint,
        )

    train = find_split(train, known, data=data) if train else first("learn from", "train")
    # The images of val are part of trainval.
    unseen_val = usual_name(train) not in ("val", "trainval")
    test = find_split(test, known, data=data) if test else first("test on", "test", *["val"] * unseen_val)
    if val:
        return train, find_split(val, known, data=data), test
    watch = [split for split in known if usual_name(split) == "val" and split != test and unseen_val]
    return train, watch[0] if watch else "", test


def _format(path: str | Path, format: str | None) -> str:
    """Return the format asked for, or the one found; the path must exist either way."""
    if format in (None, "", "auto"):
        return detect_format(path)
    if format not in FORMATS:
        raise ConfigError(f"data.format: {format!r} is no format.", hint=did_you_mean(format, ("auto", *FORMATS)))
    if format != "shapes" and not Path(path).expanduser().exists():
        raise DataError(f"{path}: no such folder.")
    return format
