"""Oxford-IIIT Pet: the box is the *head* of a cat or dog. No torch.

    images/Breed_NN.jpg, annotations/xmls/Breed_NN.xml, annotations/{trainval,test}.txt

Only images of the official `trainval` have boxes, so a detector cannot be measured on the official `test`.
The splits `train` and `val` are the lists our_train.txt and our_val.txt where the folder has them, else a
seeded 80/20 cut of the boxed images of trainval. `tf-train` and `tf-val` are the 70/30 cut of trainval that the
TensorFlow Object Detection API makes, which the paper's system came from.
Reference: Parkhi et al., Cats and Dogs, CVPR 2012.
"""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

from smoothiou.data import voc
from smoothiou.data.faults import first_names, refuse_dropped
from smoothiou.data.images import ImageFinder
from smoothiou.data.records import Box, Dataset
from smoothiou.data.splits import find_split, in_usual_order, read_list, seeded_cut, unlearnt
from smoothiou.data.voc_file import read_annotation
from smoothiou.errors import ConfigError, DataError, did_you_mean
from smoothiou.files import refuse_links_out

LABELS = ("head", "species", "breed")
SPECIES = ("cat", "dog")
OFFICIAL = 3680
"""Names in the official trainval.txt; XML files lack for nine of them."""
_LISTS = {"train": "our_train.txt", "val": "our_val.txt", "trainval": "trainval.txt", "test": "test.txt"}


def read(root: Path, *, split: str, split_seed: int, allow_dropped: int, labels: str = "head") -> Dataset:
    """Return one split.

    Args:
        root: the data folder.
        split: `train`, `val`, `trainval`, `tf-train`, `tf-val`, or `test` in a copy that has boxes for it.
        split_seed: of the cut, where the folder has no lists of ours.
        allow_dropped: how many faulty boxes may be left out.
        labels: `head` (one class), `species` (cat, dog) or `breed` (37, from the file names).

    Raises:
        ConfigError: no such `labels`.
        DataError: what the split or the file of an image has wrong.
    """
    labels = labels or "head"
    if labels not in LABELS:
        raise ConfigError(
            f"data.labels: expected one of {', '.join(LABELS)}, got {labels!r}.",
            hint=did_you_mean(labels, LABELS),
        )
    data = root.resolve().name
    items, notes = splits(root, split_seed=split_seed)
    name = find_split(split, in_usual_order(items), data=data)
    if name in ("tf-train", "tf-val"):
        count = len(items["trainval"])
        some = "" if count == OFFICIAL else f" (the official list has {OFFICIAL}, and its cut is another)"
        notes = [f"70/30 cut of the {count} names of trainval.txt by the TensorFlow API's random.seed(42){some}"]
    annotations = {item.xml: read_annotation(item.xml, root=root) for item in items[name] if os.path.isfile(item.xml)}
    records, faults = voc.make_records(items[name], annotations, root=root, split=name)
    refuse_dropped(faults, allow_dropped=allow_dropped, data=data)
    records = [
        dataclasses.replace(
            record,
            boxes=tuple(dataclasses.replace(box, label=_label(box, record.name, labels)) for box in record.boxes),
        )
        for record in records
    ]
    names = {part: [item.name for item in part_items] for part, part_items in items.items()}
    classes = {
        "head": ("head",),
        "species": SPECIES,
        "breed": _breeds(stem for stems in names.values() for stem in stems),
    }[labels]
    if labels == "breed":
        learnt = names.get("tf-train" if name.startswith("tf-") else "train", [])
        sides = {"train": {breed(stem) for stem in learnt}, name: {breed(stem) for stem in names[name]}}
        notes += unlearnt(sides, name)
    return Dataset(
        name=data,
        format="pets",
        split=name,
        classes=classes,
        records=tuple(records),
        faults=tuple(faults),
        notes=("boxes are the heads of the animals, not their bodies", *notes),
    )


def split_names(root: Path, *, split_seed: int = 0) -> tuple[str, ...]:
    """Return the names of the splits that have boxes."""
    items, _ = splits(root, split_seed=split_seed)
    return in_usual_order(name for name, part in items.items() if voc.has_boxes(part, root=root))


def is_pets(root: Path) -> bool:
    """Return whether a folder has the layout read here."""
    lists = root / "annotations"
    return (lists / "xmls").is_dir() and any((lists / name).is_file() for name in ("trainval.txt", "our_train.txt"))


def splits(root: Path, *, split_seed: int) -> tuple[dict[str, list[voc.Item]], list[str]]:
    """Return the items of every split, and notes on how they were found."""
    finder = ImageFinder(root, [root / "images", root])
    lists = {split: root / "annotations" / name for split, name in _LISTS.items()}
    items = {
        # Lines are "name class species breed"; names have no spaces.
        split: [
            voc.Item(stem, root / "annotations" / "xmls" / f"{stem}.xml", finder)
            for stem in dict.fromkeys(line.split()[0] for line in _list(path, root) if not line.startswith("#"))
        ]
        for split, path in lists.items()
        if path.is_file()
    }
    if "trainval" in items:
        tf = tensorflow_cut([item.name for item in items["trainval"]])
        by_name = {item.name: item for item in items["trainval"]}
        items |= {split: [by_name[stem] for stem in stems] for split, stems in tf.items()}
    if "train" in items and "val" in items:
        return items, ["train and val are the lists our_train.txt and our_val.txt"]
    boxed = {item.name: item for item in items.get("trainval", []) if os.path.isfile(item.xml)}
    cut = seeded_cut(boxed, seed=split_seed)
    notes = [f"split 80/20 by seed {split_seed} from the {len(boxed)} boxed images of trainval.txt"]
    if bare := [item.name for item in items.get("trainval", []) if item.name not in boxed]:
        count = "1 image" if len(bare) == 1 else f"{len(bare)} images"
        notes.append(f"{count} of trainval.txt without XML left out: {first_names(bare)}")
    return {**items, **{name: [boxed[stem] for stem in stems] for name, stems in cut.items()}}, notes


def _list(path: Path, root: Path) -> list[str]:
    return read_list(refuse_links_out(path, root=root, where=path.name))


def tensorflow_cut(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the cut of `create_pet_tf_record.py`: the list shuffled by Python's random.seed(42), 70 % to train.

    It is made before images without XML are left out, so that the parts of the official 3680 names are 2576 and 1104.
    It hangs on the order of the list, and on Python 3: under Python 2, `shuffle` gave another.

    Args:
        names: of trainval.txt, in its order.
    """
    shuffled = list(names)
    random.Random(42).shuffle(shuffled)
    count = int(0.7 * len(shuffled))
    return {"tf-train": shuffled[:count], "tf-val": shuffled[count:]}


def breed(name: str) -> str:
    """Return the breed in an image's name: `american_bulldog_12` is an `american_bulldog`."""
    return name.rpartition("_")[0] or name


def _breeds(names: Iterable[str]) -> tuple[str, ...]:
    # The official class numbers follow this order too: by name, capital letters (cats) beside small ones.
    return tuple(sorted({breed(name) for name in names}, key=str.casefold))


def _label(box: Box, name: str, labels: str) -> str:
    if labels == "breed":
        return breed(name)
    if labels == "head":
        return "head"
    if box.label not in SPECIES:
        raise DataError(f'{box.where}: expected "cat" or "dog", got {box.label!r}.', hint="Repair its <name>.")
    return box.label
