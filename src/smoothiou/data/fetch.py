"""Public data sets that can be fetched: what, from where, how large. Nothing is downloaded unless asked for by name.

Downloads are torchvision's own, checked by their MD5 sums; where it has none, the page is named.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import shutil
import socket
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from smoothiou.errors import ConfigError, DataError, did_you_mean

TIMEOUT = 60.0
"""Seconds without a byte after which a download fails, where torchvision would wait for ever."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One public data set.

    Args:
        title: its full name.
        archives: address and size in bytes of each file, from its server.
        folder: the data folder below the target folder, once it is unpacked.
        page: where it is described, with its terms of use.
        splits: what can be trained and measured on.
        fetch: downloads and unpacks into a folder; None where torchvision has no download.
    """

    title: str
    archives: tuple[tuple[str, int], ...]
    folder: str
    page: str
    splits: str
    fetch: Callable[[Path], None] | None = None

    @property
    def bytes(self) -> int:
        """Size of all archives together."""
        return sum(size for _, size in self.archives)


def _pets(target: Path) -> None:
    from torchvision.datasets import OxfordIIITPet

    OxfordIIITPet(str(target), split="trainval", download=True)


def _voc(target: Path, *, year: str, parts: tuple[str, ...]) -> None:
    from torchvision.datasets import VOCDetection

    for part in parts:
        VOCDetection(str(target), year=year, image_set=part, download=True)


_VOC = "https://thor.robots.ox.ac.uk/pascal/VOC"
_PETS = "https://www.robots.ox.ac.uk/~vgg/data/pets"
_UDACITY = "https://s3.amazonaws.com/udacity-sdc/annotations"
_COCO = "http://images.cocodataset.org"

SOURCES = {
    "pets": Source(
        title="Oxford-IIIT Pet",
        archives=((f"{_PETS}/data/images.tar.gz", 791918971), (f"{_PETS}/data/annotations.tar.gz", 19173078)),
        folder="oxford-iiit-pet",
        page=f"{_PETS}/",
        splits="train and val, or tf-train and tf-val; the official test has no boxes",
        fetch=_pets,
    ),
    "voc2007": Source(
        title="PASCAL VOC 2007",
        archives=(
            (f"{_VOC}/voc2007/VOCtrainval_06-Nov-2007.tar", 460032000),
            (f"{_VOC}/voc2007/VOCtest_06-Nov-2007.tar", 451020800),
        ),
        folder="VOCdevkit/VOC2007",
        page="http://host.robots.ox.ac.uk/pascal/VOC/voc2007/",
        splits="train, val, trainval, test",
        fetch=functools.partial(_voc, year="2007", parts=("trainval", "test")),
    ),
    "voc2012": Source(
        title="PASCAL VOC 2012",
        archives=((f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar", 1999639040),),
        folder="VOCdevkit/VOC2012",
        page="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        splits="train, val, trainval; test has no public boxes",
        fetch=functools.partial(_voc, year="2012", parts=("trainval",)),
    ),
    "udacity": Source(
        title="Udacity self-driving car, annotated by CrowdAI and by Autti",
        archives=(
            (f"{_UDACITY}/object-detection-crowdai.tar.gz", 1_500_000_000),  # as listed, rounded; the others are exact
            (f"{_UDACITY}/object-dataset.tar.gz", 3_300_000_000),
        ),
        folder="object-detection-crowdai",
        page="https://github.com/udacity/self-driving-car/tree/master/annotations",
        splits="cut 80/20 in blocks of time",
    ),
    "coco": Source(
        title="COCO 2017",
        archives=(
            (f"{_COCO}/zips/train2017.zip", 19336861798),
            (f"{_COCO}/zips/val2017.zip", 815585330),
            (f"{_COCO}/annotations/annotations_trainval2017.zip", 252907541),
        ),
        folder="coco",
        page="https://cocodataset.org/#download",
        splits="train2017, val2017",
    ),
}


def find_source(name: str) -> Source:
    """Return the entry of a public data set.

    Raises:
        ConfigError: no such name, with a suggestion.
    """
    if name not in SOURCES:
        raise ConfigError(f"fetch-data: {name}: no such data set.", hint=did_you_mean(name, SOURCES))
    return SOURCES[name]


def fetch(name: str, target: Path) -> Path:
    """Download a data set, unpack it, and return its data folder; complete archives are not fetched again.

    Args:
        name: a key of `SOURCES`.
        target: the folder that archives and data go to; made if it does not exist.

    Raises:
        ConfigError: no such name, or torchvision has no download of it.
        DataError: the network, the server or the disk fails; or an archive is not what it should be.
    """
    source = find_source(name)
    if source.fetch is None:
        raise ConfigError(
            f"fetch-data: torchvision has no download of {source.title}, and smoothiou makes none of its own.",
            hint=f"Fetch it by hand ({source.page}), unpack it, and pass the folder as DATA.",
        )
    _check_disk(source, target)
    try:
        # torchvision's messages are for people; stdout is for programs.
        with _timeout(TIMEOUT), contextlib.redirect_stdout(sys.stderr):
            target.mkdir(parents=True, exist_ok=True)
            source.fetch(target)
    except (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"fetch-data: {source.title} could not be downloaded to {target}: {reason}.",
            hint="Check the network and the disk, then give the same command again; complete archives are kept.",
        ) from error
    return target / source.folder


def _check_disk(source: Source, target: Path) -> None:
    """Stop before a download that cannot fit: archives stay beside what is unpacked from them."""
    folder = next((path for path in (target, *target.absolute().parents) if path.is_dir()), None)
    free, needed = shutil.disk_usage(folder).free if folder else None, 2 * source.bytes
    if free is not None and free < needed:
        raise DataError(
            f"fetch-data: {source.title} needs about {needed / 1e9:.1f} GB in {target}, archives and content; "
            f"{free / 1e9:.1f} GB are free there.",
            hint="Free some space or choose another folder with --out.",
        )


@contextlib.contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
