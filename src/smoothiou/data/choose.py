"""Which splits a run trains on, validates on and tests on, where the user has not named them. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smoothiou.data import merge
from smoothiou.data.registry import list_splits, splits_of
from smoothiou.data.splits import Cut, find_split, usual_name
from smoothiou.errors import DataError


def choose_splits(
    path: str | Path,
    *,
    format: str | None = None,
    train: str = "",
    val: str = "",
    test: str = "",
    cut: Cut = "80/20",
) -> tuple[str, str, str]:
    """Return the splits to train on, to validate on ("" for none) and to test on, as the data set names them.

    Args:
        path: as for `load_dataset`.
        format: as for `load_dataset`.
        train: empty: `train`.
        val: empty: `val`, if it has boxes and nothing of it is trained or tested on; else none.
        test: empty: `test` if it has boxes, else `val`; of a training set with a partner (`tf-train` and `tf-val`,
            `VOC++Train` and `VOC2012:val`) the partner.
        cut: as for `load_dataset`.

    Raises:
        DataError: a split named here has no boxes, or nothing is left for a split that is needed.
    """
    known = list_splits(path, format, cut=cut)
    data = str(path)

    def find(split: str) -> str:
        if not merge.is_merged(path, split):
            return find_split(split, known, data=data)
        for part in merge.parts(path, split):
            find_split(part.split, splits_of(part.folder, format, cut=cut), data=part.name)
        return split

    train = find(train) if train else _first(["train"], known, data=data, role="train")
    train_parts = _covered(path, train)
    unused = [split for split in known if not _covered(path, split) & train_parts]
    partner = _partner(path, train, known)
    if test:
        test = find(test)
    elif partner:
        try:
            test = find(partner)
        except DataError as error:
            raise DataError(
                f"{train} is tested on {partner}, which has no boxes: {error.message}",
                hint="Name another split with --data.test.",
            ) from None
    else:
        candidates = [name for name in ("test", "val") if name in map(usual_name, unused)]
        test = _first(candidates, known, data=data, role="test")
    if val:
        return train, find(val), test
    used = train_parts | _covered(path, test)
    free = [split for split in unused if usual_name(split) == "val" and not _covered(path, split) & used]
    return train, free[0] if free and not partner else "", test


def _first(names: Sequence[str], known: Sequence[str], *, data: str, role: str) -> str:
    """Return the first of some usual names that the data set has."""
    for name in names:
        if any(usual_name(split) == name for split in known):
            return find_split(name, known, data=data)
    hint = f"Name one with --data.{role}."
    if role == "test" and len(known) == 1:
        hint = (
            "Add a val split. Images are cut where no split is shipped: in a COCO file whose name gives no "
            "split (annotations.json), or XML beside images without ImageSets."
        )
    boxed = ", ".join(known) or "none"
    raise DataError(f"{data}: no split with boxes to {role} on; with boxes: {boxed}.", hint=hint)


def _covered(path: str | Path, split: str) -> set[tuple[str, str]]:
    """Return the folders and usual names of the splits that a split holds; trainval holds train and val."""
    covered: set[tuple[str, str]] = set()
    for part in merge.parts(path, split):
        name = usual_name(part.split)
        covered |= {(part.folder, each) for each in ((name, "train", "val") if name == "trainval" else (name,))}
    return covered


def _partner(path: str | Path, train: str, known: Sequence[str]) -> str:
    """Return the split that is made to test a model trained on another: of `cut-train`, `cut-val`; else ""."""
    if protocol := merge.protocol_test(path, train):
        return protocol
    stem = train.removesuffix("train")
    return next((stem + end for end in ("test", "val") if stem.endswith("-") and stem + end in known), "")
