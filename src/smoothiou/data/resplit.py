"""Train and val cut anew, so that the choice of training images is part of what differs from seed to seed. No torch."""

from __future__ import annotations

import dataclasses

from smoothiou.data.leaks import photo_groups
from smoothiou.data.long_tail import tail_note
from smoothiou.data.records import Dataset, Record
from smoothiou.data.splits import CUT_SHARES, NOT_IN_TRAIN, seeded_cut
from smoothiou.errors import ConfigError
from smoothiou.words import counted

REFUSED = "--resplit (data.resplit) cuts train and val anew"


class Pool:
    """The images of train and val together, to be cut in the same proportion again; without a val, four to one.

    Copies of one photo stay on one side. A photo that is in the test split, too, comes into neither part.

    Args:
        train: the training split as the data has it.
        val: the validation split; None where there is none.
        test: the split that results are of; no cut changes its images.

    Raises:
        ConfigError: all images of train or of val are those of the others.
    """

    def __init__(self, train: Dataset, val: Dataset | None, test: Dataset) -> None:
        self.cut_of = f"{train.split} and {val.split}" if val else train.split
        self.train, self.val, self.test = train, val or dataclasses.replace(train, split="val", records=()), test
        sources = {record.source for record in train.records}
        pool = [(f"train/{record.name}", record) for record in train.records]
        pool += [(f"val/{record.name}", record) for record in self.val.records if record.source not in sources]
        groups = photo_groups([*test.records, *(record for _, record in pool)])
        tested = set(groups[: len(test.records)])
        self.records: dict[str, Record] = {}
        self.photos: dict[str, str] = {}
        first: dict[int, str] = {}
        for (name, record), group in zip(pool, groups[len(test.records) :], strict=True):
            if group not in tested:
                self.records[name] = record
                self.photos[name] = first.setdefault(group, name)
        self.left_out = len(pool) - len(self.records)
        numbers = {part: sum(name.startswith(part) for name in self.records) for part in ("train/", "val/")}
        if not numbers["train/"] or (val and not numbers["val/"]) or len(first) < 2:
            raise ConfigError(
                f"{REFUSED}: expected splits of different images, got {self.cut_of} and, to test on, {test.split}, of "
                "which nothing is left to cut.",
                hint="Name others with --data.train, --data.val and --data.test, or leave --resplit out.",
            )
        train_share = numbers["train/"] / len(self.records) if val else CUT_SHARES["80/20"]["train"]
        self.shares = {"train": train_share, "val": 1 - train_share}

    def cut(self, seed: int) -> tuple[Dataset, Dataset]:
        """Return train and val as a seed cuts them, the same way on every machine."""
        names = seeded_cut(self.records, seed=seed, shares=self.shares, group_of=self.photos.__getitem__)
        train, val = (tuple(self.records[name] for name in names[part]) for part in ("train", "val"))
        note = f"{self.cut_of} cut anew by seed {seed}: {len(train)} and {counted(len(val), 'image')}"
        if self.left_out:
            note += f"; {self.left_out} that are in {self.test.split}, too, are left out"
        # Faults name lines of files, not images: those of train and val stay together.
        of_val = (fault for fault in self.val.faults if fault.kind != "same-photo" and fault not in self.train.faults)
        faults = (*self.train.faults, *of_val)
        tail = tail_note(self.train.counts()["per_class"])
        notes = [text for text in self.train.notes if text not in tail]
        anew = dataclasses.replace(self.train, records=train, faults=faults)
        anew = dataclasses.replace(anew, notes=(*notes, note, *tail_note(anew.counts()["per_class"])))
        return anew, dataclasses.replace(about_any_train(self.val), records=val, faults=())


def about_any_train(data: Dataset) -> Dataset:
    """Return a split without what its reader noted on the training split as the data has it."""
    return dataclasses.replace(data, notes=tuple(note for note in data.notes if NOT_IN_TRAIN not in note))
