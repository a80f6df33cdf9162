"""Oxford-IIIT Pet: the box is the *head* of a cat or dog. No torch.

    images/Breed_NN.jpg, annotations/xmls/Breed_NN.xml, annotations/{trainval,test}.txt

Only images of the official `trainval` have boxes, so a detector cannot be measured on the official `test`.
The splits `train` and `val` are the lists our_train.txt and our_val.txt where the folder has them, else a
seeded 80/20 cut of the boxed images of trainval. `tf-train` and `tf-val` are the 70/30 cut of trainval that the
TensorFlow Object Detection API makes, which the paper's system came from.
Reference: Parkhi et al., Cats and Dogs, CVPR 2012.
"""

# ruff: noqa: D102 (methods of a format are documented in its base class)

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Sequence
from pathlib import Path

from smoothiou.data.formats.base import Entry, Options, Problems
from smoothiou.data.formats.voc import Voc
from smoothiou.data.formats.voc_layout import Item, Items
from smoothiou.data.image_finder import ImageFinder
from smoothiou.data.records import Box
from smoothiou.data.splits import read_list
from smoothiou.errors import ConfigError, DataError, did_you_mean
from smoothiou.files import refuse_links_out

LABELS = ("head", "species", "breed")
SPECIES = ("cat", "dog")
OFFICIAL = 3680
"""Names in the official trainval.txt; XML files lack for nine of them."""
_LISTS = {"train": "our_train.txt", "val": "our_val.txt", "trainval": "trainval.txt", "test": "test.txt"}


class Pets(Voc):
    """A folder of Oxford-IIIT Pet, with `head` (one class), `species` (cat, dog) or `breed` (37) as labels.

    Raises:
        ConfigError: no such labels.
    """

    format = "pets"
    layout = "annotations/xmls with annotations/trainval.txt"
    reader_notes = ("boxes are the heads of the animals, not their bodies",)

    def __init__(self, path: Path, options: Options | None = None, problems: Problems | None = None) -> None:
        self.kind = (options or Options()).labels or "head"
        if self.kind not in LABELS:
            raise ConfigError(
                f"data.labels: expected one of {', '.join(LABELS)}, got {self.kind!r}.",
                hint=did_you_mean(self.kind, LABELS),
            )
        super().__init__(path, options, problems)
        self._reported: set[str] = set()

    @classmethod
    def fits(cls, path: Path) -> bool:
        lists = path / "annotations"
        return (lists / "xmls").is_dir() and any((lists / name).is_file() for name in ("trainval.txt", "our_train.txt"))

    def find_items(self) -> Items:
        """Return the images of every split: of the lists, the cut of trainval, and TensorFlow's cut."""
        lists = {split: self.path / "annotations" / name for split, name in _LISTS.items()}
        items = {split: self._read_items(path) for split, path in lists.items() if path.is_file()}
        trainval = {item.name: item for item in items.get("trainval", [])}
        if trainval:
            cut = tensorflow_cut(list(trainval))
            items |= {split: [trainval[stem] for stem in stems] for split, stems in cut.items()}
        if ("train" in items) != ("val" in items):
            raise DataError(f"{self.name}: one of our_train.txt and our_val.txt is missing.", hint="Add it.")
        if "train" in items:
            self.notes.append("train and val are the lists our_train.txt and our_val.txt")
            return items
        boxed = {name: item for name, item in trainval.items() if os.path.isfile(item.xml)}
        seed = self.options.split_seed
        self.notes.append(f"split {self.options.cut} by seed {seed} from the {len(boxed)} boxed images of trainval.txt")
        self.note_left_out([name for name in trainval if name not in boxed], "of trainval.txt without XML left out")
        return items | self.cut_items(boxed)

    def _read_items(self, path: Path) -> list[Item]:
        finder = ImageFinder(self.path, [self.path / "images", self.path])
        lines = read_list(refuse_links_out(path, root=self.path, where=path.name))
        # Lines are "name class species breed"; names have no spaces.
        stems = dict.fromkeys(line.split()[0] for line in lines if not line.startswith("#"))
        return [Item(stem, self.path / "annotations" / "xmls" / f"{stem}.xml", finder) for stem in stems]

    def files_splits(self) -> tuple[str, ...]:
        return tuple(split for split in self.items if not split.startswith("tf-"))

    def entries(self, split: str) -> list[Entry]:
        if split.startswith("tf-"):
            count = len(self.items["trainval"])
            other = "" if count == OFFICIAL else f" (the official list has {OFFICIAL}, and its cut is another)"
            self.notes = [
                f"70/30 cut of the {count} names of trainval.txt by the TensorFlow API's random.seed(42){other}"
            ]
        return [
            dataclasses.replace(entry, boxes=tuple(self._relabelled(box, entry) for box in entry.boxes))
            for entry in super().entries(split)
        ]

    def _relabelled(self, box: Box, entry: Entry) -> Box:
        species_matters = self.problems.lenient or self.kind == "species"
        if box.label not in SPECIES and species_matters and box.where not in self._reported:
            self._reported.add(box.where)  # once, whichever splits list the image
            error = DataError(f'{box.where}: expected "cat" or "dog", got {box.label!r}.', hint="Repair its <name>.")
            self.problems.report("unknown-label", error, where=box.where, entry=entry, boxes=(box,))
        if self.kind == "species":
            return box
        return dataclasses.replace(box, label=breed(entry.name) if self.kind == "breed" else "head")

    def classes(self) -> tuple[str, ...]:
        names = {breed(item.name) for items in self.items.values() for item in items}
        breeds = tuple(sorted(names, key=str.casefold))
        return {"head": ("head",), "species": SPECIES, "breed": breeds}[self.kind]

    def listed_classes(self) -> tuple[str, ...]:
        return ()

    def labels(self, split: str) -> dict[str, set[str]]:
        if self.kind != "breed":
            return {}
        train = self.items.get("tf-train" if split.startswith("tf-") else "train", [])
        return {"train": {breed(i.name) for i in train}, split: {breed(i.name) for i in self.items[split]}}


def tensorflow_cut(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the cut of `create_pet_tf_record.py`: the list shuffled by Python's random.seed(42), 70 % to train.

    It is made before images without XML are left out, so that the parts of the official 3680 names are 2576 and 1104.
    It depends on the order of the list, and on Python 3: under Python 2, `shuffle` gave another.

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
