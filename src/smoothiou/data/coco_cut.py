"""An 80/20 cut of a COCO data set over all its files, for data that was split some other way. No torch.

The splits are called `cut-train` and `cut-val`. A list of them may lie in the data folder or in annotations/, in a
JSON file with "split" in its name: {"train": ["SPLIT/FILE_NAME", ...], "val": [...]}; else a seed decides. Copies
that an exporter made of one photo are on one side, whichever files they were in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smoothiou.data.coco_file import load_json
from smoothiou.data.faults import first_names
from smoothiou.data.splits import photo, seeded_cut
from smoothiou.errors import DataError

NAMES = {"cut-train": "train", "cut-val": "val"}


def cut_all(names: Sequence[str], *, root: Path, seed: int) -> tuple[dict[str, list[str]], list[str]]:
    """Return the names of `train` and `val`, and notes on how they were found.

    Args:
        names: of all images, as `SPLIT/FILE_NAME`.
        root: the data folder.
        seed: of the cut, where the folder has no list.

    Raises:
        DataError: a list names an image that is not there, or has copies of one photo on both sides.
    """
    found = _shipped(root)
    if found is None:
        return seeded_cut(names, seed=seed), [f"all files together, split 80/20 by seed {seed}"]
    file, cut = found
    known = set(names)
    for part, listed in cut.items():
        if unknown := [name for name in listed if name not in known]:
            raise DataError(
                f"{file}: no image of the split {part} is called {first_names(unknown)}.",
                hint="Write SPLIT/FILE_NAME, as in train/0001.jpg.",
            )
    photos = {part: {photo(name) for name in listed} for part, listed in cut.items()}
    if both := sorted(photos["train"] & photos["val"]):
        raise DataError(f"{file}: copies of one photo are in train and val: {first_names(both)}.", hint="Move them.")
    notes = [f"train and val are the lists of {file.name}"]
    if left := sorted(known - {name for listed in cut.values() for name in listed}):
        count = (
            "1 image that it does not name was" if len(left) == 1 else f"{len(left)} images that it does not name were"
        )
        notes.append(f"{count} left out: {first_names(left)}")
    return cut, notes


def _shipped(root: Path) -> tuple[Path, dict[str, list[str]]] | None:
    """Return the file that lists a cut, and its lists, if there is one."""
    for folder in (root / "annotations", root):
        for file in sorted(folder.glob("*split*.json")):
            content = load_json(file)
            lists = {part: content.get(part) for part in ("train", "val")} if isinstance(content, dict) else {}
            if lists and all(
                isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists.values()
            ):
                return file, {part: list(names or []) for part, names in lists.items()}
    return None
