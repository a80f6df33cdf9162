"""The paper's six data sets as studies: their folders, their settings, and how these differ from the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from smoothiou.engine.config import RunConfig, build_config
from smoothiou.engine.identity import NEUTRAL
from smoothiou.errors import ConfigError, DataError, did_you_mean
from smoothiou.study.paper import LOSSES, METRICS_3, TITLES
from smoothiou.study.plan import PER_CELL

Scale = Literal["tiny", "full"]

IMAGES = (".jpg", ".jpeg", ".png")

TINY = MappingProxyType(
    {
        "model.name": "nano", "model.weights": "none", "model.min_size": 96, "model.max_size": 128,
        "model.proposals": 30, "train.steps": 6, "train.batch_size": 4, "train.log_every": 1, "eval.batch_size": 16,
        "eval.max_detections": 100,
    }
)  # fmt: skip
"""What `--scale tiny` changes: every step of a study is taken, and the detector is not trained to anything useful."""

COMMON = (
    "RMSProp: decay 0.9 and epsilon 1, the defaults of the authors' software; the paper gives neither.",
    "Dropout: 0.2 of the features are dropped; the paper gives values of 0.2 to 0.8 and not which was best.",
    "Gradients are clipped to a global norm of 10, as in that software's sample; the paper does not mention it.",
    "Huber's delta is 1, and no gradient flows through lambda (docs/paper.md).",
    "Detections of a score below 0.001 are left out; that software keeps all.",
)
"""Where the recipes decide what the paper leaves open, or differ from its software."""

DIFFICULT = "Difficult boxes are neither trained on nor evaluated; that software does both."


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperSet:
    """A data set of the paper.

    Args:
        folders: of each part of the data, names of folders in the order of preference.
        images: number of images in the official lists, by split, where there are any.
        substitutes: folders of other data, and what that is.
        notes: differences from the paper that hold for any folder.
    """

    folders: tuple[tuple[str, ...], ...]
    images: Mapping[str, int] = field(default_factory=dict)
    substitutes: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


VOC2007 = ("VOCdevkit/VOC2007", "VOC2007", "voc2007")
VOC2012 = ("VOCdevkit/VOC2012", "VOC2012", "voc2012")

SETS: Mapping[str, PaperSet] = MappingProxyType(
    {
        "pets": PaperSet(
            folders=(("oxford-iiit-pet", "oxford_pets", "pets"),),
            images={"train": 2576, "test": 1104},
            notes=(
                'The "standard split": trainval cut 70/30 as that software does, heads of 37 breeds; the official test '
                "split has no boxes.",
            ),
        ),
        "udacity": PaperSet(
            folders=(("udacity", "self-driving-car", "road_signs"),),
            substitutes={"road_signs": "photos of road signs"},
            notes=('The "standard split": there is none; 80/20 in blocks of time, or the lists that the folder has.',),
        ),
        "vwfs": PaperSet(
            folders=(("vwfs", "car_damage"),),
            substitutes={"car_damage": "public photos of damaged cars; the paper's are not public"},
        ),
        "voc2007": PaperSet(folders=(VOC2007,), images={"train": 2501, "test": 2510}, notes=(DIFFICULT,)),
        "voc2012": PaperSet(folders=(VOC2012,), images={"train": 5717, "test": 5823}, notes=(DIFFICULT,)),
        "voc++": PaperSet(folders=(VOC2007, VOC2012), images={"train": 8218, "test": 5823}, notes=(DIFFICULT,)),
    }
)


def choose_sets(text: str) -> tuple[str, ...]:
    """Read `pets,voc2007`; nothing means all six.

    Raises:
        ConfigError: another name, or one twice.
    """
    names = tuple(part.strip() for part in text.split(",") if part.strip()) or tuple(SETS)
    for name in names:
        if name not in SETS:
            raise ConfigError(f"--data: {name}: no data set of the paper.", hint=did_you_mean(name, SETS))
        if names.count(name) > 1:
            raise ConfigError(f"--data: {name} is named twice.")
    return names


def find_data(name: str, root: str | Path) -> str:
    """Return DATA of a set: of each part the first of its folders that holds images, joined by `+`.

    Raises:
        DataError: none of a part's folders holds images.
    """
    parts = []
    for folders in SETS[name].folders:
        candidates = [Path(root) / folder for folder in folders]
        part = next((path for path in candidates if _holds_images(path)), None)
        if part is None:
            raise DataError(
                f"{TITLES[name]}: no images in {', '.join(map(str, candidates))}.",
                hint="Name their parent folder with --data-root; `smoothiou fetch-data` tells where the data is.",
            )
        parts.append(str(part))
    return "+".join(parts)


def _holds_images(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix.lower() in IMAGES for path in folder.rglob("*"))


def recipe_of(name: str, loss: str = LOSSES[0]) -> str:
    """Return the name of the shipped recipe; those of a set's two losses differ in the loss alone."""
    return f"paper/{name}-{loss}"


def settings_of(name: str, path: str, *, scale: Scale, changes: Mapping[str, Any]) -> RunConfig:
    """Return the settings of a set's study.

    Args:
        name: of the set.
        path: DATA.
        scale: "full" as in the paper, "tiny" with the changes of `TINY`.
        changes: settings that the user gave, which win.
    """
    scaled = TINY if scale == "tiny" else {}
    return build_config(recipe_of(name), {**scaled, "data.path": path, **changes})


def deviations(name: str, config: RunConfig, data: Mapping[str, Mapping[str, Any] | None]) -> list[str]:
    """Return in what a study differs from the paper, one sentence each.

    Args:
        name: of the set.
        config: its settings.
        data: of its plan: facts of each split.
    """
    recipe = build_config(recipe_of(name), {}).flat()
    sentences = []
    for folder in config.data.path.split("+"):
        if content := SETS[name].substitutes.get(Path(folder).name):
            sentences.append(f"{Path(folder).name} stands in for {TITLES[name]}: {content}.")
    for split, official in SETS[name].images.items():
        facts = data.get(split)
        images = facts["counts"]["images"] if facts else 0
        if images != official:
            sentences.append(f"{split}: {images} images; the official list has {official}.")
    for key, value in config.flat().items():
        if value != recipe[key] and key not in (*NEUTRAL, *PER_CELL):
            sentences.append(f"{key} is {value}, and {recipe[key]} in the paper's recipe.")
    return [*sentences, *SETS[name].notes, *COMMON]


def summarize(collected: Mapping[str, Any], *, losses: Sequence[str] = LOSSES) -> dict[str, dict[str, float | None]]:
    """Return metric -> loss -> mean over seeds, in the units of the paper's tables.

    Args:
        collected: from `collect`.
        losses: those of the study, in the order of `LOSSES`, by whose names they are returned.
    """
    factors = {"mean_iou": 1.0, **dict.fromkeys(METRICS_3, 100.0)}
    means: dict[str, dict[str, float | None]] = {}
    for metric, factor in factors.items():
        of_loss = {
            name: collected["summary"].get(loss, {}).get(metric, {}).get("mean")
            for name, loss in zip(LOSSES, losses, strict=True)
        }
        means[metric] = {loss: None if mean is None else factor * mean for loss, mean in of_loss.items()}
    return means


def count_wins(pairs: Sequence[Sequence[float | None]]) -> tuple[int, int]:
    """Return on how many data sets the first and the second loss is the better; ties and gaps count for none."""
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    return sum(a > b for a, b in both), sum(b > a for a, b in both)
