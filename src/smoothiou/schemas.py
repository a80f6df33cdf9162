"""What files and `--json` outputs hold, as pydantic models; docs/schema/ has their JSON Schemas. No torch.

`result.json` is read through `Result`. The others describe what is written, and the tests hold written files to them. A
reader should ignore keys that it does not know: later versions add some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr

Share = StrictFloat | None
"""0 to 1; null where a metric is not defined, as AP of a class without boxes."""
Counts = dict[str, StrictInt]
Box = Annotated[list[float], Field(min_length=4, max_length=4)]
"""xyxy in pixels of the image as it is viewed, 0-based with an open end."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


class Metrics(_Record):
    """COCO's metrics on a split."""

    AP: Share
    """Mean over IoU .50 to .95."""
    AP50: Share
    AP75: Share
    AP_small: Share
    """Of boxes below 32 x 32 pixels ..."""
    AP_medium: Share
    """... up to 96 x 96 ..."""
    AP_large: Share
    """... and above."""
    AR1: Share
    """Average recall with 1 detection an image ..."""
    AR10: Share
    AR100: Share


class Histogram(_Record):
    """How many boxes lie in each interval of IoU."""

    edges: list[float]
    """21 edges from 0 to 1."""
    matched: list[int]
    """Detections matched at IoU .5."""
    raw: list[int]
    """All second-stage boxes."""
    refined: list[int]
    """Probes after one pass of the second stage."""


class Localization(_Record):
    """How well boxes lie, without regard to their scores."""

    mean_iou: Share
    """Mean IoU of every second-stage box with the ground-truth box that it overlaps most (the paper's Table 2)."""
    mean_iou_proposals: Share = None
    """The part of it that the proposals have ..."""
    mean_iou_gain_below_50: Share = None
    """... that the second stage adds on proposals below IoU .5 ..."""
    mean_iou_gain_from_50: Share = None
    """... and on the others."""
    mean_iou_positive: Share
    """Of the boxes of IoU .5 and more."""
    mean_iou_matched: Share
    """Of detections matched at IoU .5."""
    refined_mean_iou: Share
    """Of ground-truth boxes, jittered and refined once."""
    refined_above_75: Share
    """Share of these above IoU .75 ..."""
    refined_above_85: Share
    refined_above_90: Share
    raw_boxes: StrictInt
    """How many second-stage boxes there are."""
    histogram: Histogram
    probe: dict[str, Any] = {}
    """How ground-truth boxes are jittered."""


class BestScore(_Record):
    """The score from which on the detections of a class have the highest F1, and what that is worth."""

    score: Share
    precision: Share
    recall: Share
    f1: Share


class BestScores(_Record):
    """The best score of each class, at an IoU of .5."""

    chosen_on: str
    iou: float
    per_class: dict[str, BestScore]


class Measured(_Record):
    """What a detector measures on a split."""

    schema_version: Literal[1]
    loss: StrictStr
    seed: StrictInt
    metrics: Metrics
    ap_by_iou: dict[str, Share]
    """AP at each IoU threshold, "0.50" to "0.95"."""
    per_class: dict[str, Share]
    """AP of each class."""
    localization: Localization
    signature: StrictStr
    """What the AP is, so that it can be compared with others."""


class Result(Measured):
    """`result.json` of a run, and `smoothiou train --json`."""

    optim: dict[str, Any]
    """"lr", the learning rate."""
    data: dict[str, Any]
    """"test": name, split, fingerprint, images and boxes of the split."""
    versions: dict[str, str]
    cost: dict[str, Any]
    """Seconds of training and evaluation, memory in MiB, device and precision."""
    hash: StrictStr
    """Equal for two runs that must give the same result."""
    finished: StrictStr
    """Local time, ISO 8601."""
    best_scores: BestScores | None = None
    continued_from: list[int] = []
    """Steps at which the run was finished before it was trained longer."""


class Evaluation(Measured):
    """`smoothiou eval --json`, and result.json in its `--out`."""

    run: str
    checkpoint: Literal["last", "best"]
    step: int
    """Of the weights."""
    steps: int
    """Of the whole training."""
    selection: dict[str, Metrics] = {}
    """With `--nms`: the metrics under each way to select detections."""
    page: str | None = None
    """With `--html`: the page."""


class Split(_Record):
    """The facts about one split of a data set."""

    name: str
    format: str
    split: str
    fingerprint: str
    """Equal for equal names, sizes, boxes and classes."""
    counts: dict[str, Any]
    """Numbers of images, boxes and faults."""
    notes: list[str]
    faults: list[dict[str, Any]]


class Cell(_Record):
    """One run of a study."""

    id: str
    """Its folder is cells/ID."""
    loss: str
    seed: int
    hash: str
    """That its result.json must have."""
    settings: dict[str, Any]
    """Every setting by its dotted key."""


class Plan(_Record):
    """`plan.json` of a study."""

    schema_version: Literal[1]
    smoothiou: str
    """Version that began it."""
    created: str
    command: list[str]
    losses: list[str]
    baseline: str
    seeds: list[int]
    weights: dict[str, dict[str, float]] = {}
    """Of a calibration: loss -> stage -> factor."""
    settings: dict[str, Any]
    """What all cells share, by dotted key."""
    data: dict[str, Split | None]
    """Of train, val and test."""
    classes: list[str]
    cells: list[Cell]
    margin: dict[str, float] | None = None
    """Differences that do not matter, in AP and IoU, 0 to 1."""
    until: dict[str, Any] | None = None
    """The rule by which seeds are added."""
    cuts: dict[str, Any] | None = None
    """Seed -> how it cut train and val anew."""
    extended: list[dict[str, Any]] = []
    """When losses or seeds were added."""


class Headline(_Record):
    """The result in plain words."""

    text: str
    kind: Literal["better", "worse", "same", "unknown"]
    advice: list[str]


class Summary(_Record):
    """A metric of a loss over the seeds."""

    mean: Share
    sd: Share
    n: int
    values: dict[str, float]
    """By seed."""


class Difference(_Record):
    """A candidate minus the baseline in one metric, paired by seed."""

    candidate: str
    baseline: str
    metric: str
    seeds: list[int]
    mean: Share
    low: Share
    """Interval over seeds and test images ..."""
    high: Share
    confidence: float
    """... of this confidence."""
    verdict: str
    conclusion: str
    margin: float


class Comparison(_Record):
    """`smoothiou compare --json`."""

    study: str
    report: str
    headline: Headline
    until: dict[str, Any]
    sentence: str
    summary: dict[str, dict[str, Summary]]
    """Loss -> metric."""
    differences: list[Difference]
    wins: dict[str, Counts]
    """Metric -> loss -> on how many seeds it is the best."""
    bootstrap: list[dict[str, Any]]
    """By loss and seed: intervals over test images alone."""
    errors: list[dict[str, Any]]
    """By loss and seed: what each kind of error costs."""


class Cost(_Record):
    """What a study will take."""

    cells: int
    done: int
    to_run: int
    steps: int
    disk_mb: int
    disk_free_mb: int | None
    run_seconds: float | None
    seconds: float | None
    basis: str


class Power(_Record):
    """What a study can detect."""

    AP: Share
    """Difference found 4 times of 5, 0 to 1; null where its spread is not known."""
    sd: Share
    until_seeds: int | None
    sentence: str


class DryRun(_Record):
    """`smoothiou compare --dry-run --json`."""

    study: str
    estimate: Cost
    power: Power
    to_calibrate: list[str]
    cells: list[Cell]


class Detection(_Record):
    """One box that was found."""

    xyxy: Box
    label: str
    score: float


class Picture(_Record):
    """What was found in one image."""

    image: str
    """Its path."""
    name: str
    width: int
    height: int
    orientation: int
    """EXIF's, by which pixels were turned; 1: not."""
    boxes: list[Detection]
    picture: str | None = None


class Unreadable(_Record):
    """A file that is no image."""

    image: str
    problem: str


class Predictions(_Record):
    """`smoothiou predict --json`."""

    images: list[Picture]
    unreadable: list[Unreadable]
    left_out: list[str]
    """Files of the folders that are not named like images."""


class Parity(_Record):
    """How an exported detector agrees with the original."""

    runtime: str
    images: int
    sizes: int
    empty: int
    boxes: int
    agree: int
    extra: int
    pixels: float
    score: float
    holds: bool


class Export(_Record):
    """`smoothiou export --json`."""

    file: str
    metadata: dict[str, str]
    parity: Parity | None = None


class Fault(_Record):
    """What went wrong."""

    message: str
    hint: str
    exit_code: Literal[1, 2, 3, 4, 5, 130]


class Failure(_Record):
    """What a command prints with `--json` where it fails; beside it, what it knows nevertheless."""

    error: Fault


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each file and output by its name: "recipe", "result", "plan", "compare" and others."""
    from smoothiou.engine.config import RunConfig

    models: Mapping[str, type[BaseModel]] = {"recipe": RunConfig, **OUTPUTS}
    address = "https://json-schema.org/draft/2020-12/schema"
    return {name: {"$schema": address, **model.model_json_schema()} for name, model in models.items()}


OUTPUTS: Mapping[str, type[BaseModel]] = {
    "result": Result,
    "plan": Plan,
    "eval": Evaluation,
    "compare": Comparison,
    "compare-dry-run": DryRun,
    "predict": Predictions,
    "export": Export,
    "error": Failure,
}
"""Models of what is written, by the name of the file or command."""
