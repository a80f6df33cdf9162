"""Every setting of a run with its default, range and meaning: the sections of `RunConfig`. No torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from smoothiou.errors import ConfigError
from smoothiou.files import MAX_PIXELS, MOST_PIXELS
from smoothiou.loss_spec import STAGES, split_stages

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """What all sections and `RunConfig` have in common: immutable and strict."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class DataConfig(Section):
    """The data set and its splits."""

    path: str = ""
    """Folder of the data set, several joined by `+`, `shapes` for the synthetic one, or `package.module:object` for
    code of your own (docs/extending.md)."""
    format: str = "auto"
    """`auto`, the name of a format (`voc`, `coco`, `yolo`, `pets`, `udacity`, `shapes`), or `package.module:object`."""
    train: str = ""
    """Training split; empty: `train`, else the 80 % of a seeded split. Several are merged by a sum
    (`VOC2007:train+VOC2012:train`) or a name (`VOC++Train`, `07+12`, `07++12`)."""
    val: str = ""
    """Split for curves and `best.ckpt`; empty: what the data offers beside the test split, if anything."""
    test: str = ""
    """Split of the final numbers; empty: the partner of `data.train` if it has one (of `VOC++Train`, `VOC2012:val`),
    else `test` if it has boxes, else `val`."""
    labels: str = ""
    """Which labels, for data sets that offer several (`pets`: head, species, breed)."""
    split_seed: int = 0
    """Seed of the split where a data set ships none."""
    resplit: NonNegativeInt | Literal["none"] = "none"
    """A seed with which train and val are cut anew, in their proportion; `none`: as they are. The test split stays."""
    cut: Literal["80/20", "70/15/15"] = "80/20"
    """Shares of the split where a data set ships none: of `train` and `val`, or of `train`, `val` and `test`."""
    allow_dropped: NonNegativeInt = 0
    """How many boxes without area or outside their image may be dropped; 0 stops at the first."""
    max_pixels: Annotated[int, Field(ge=1, le=MOST_PIXELS)] = MAX_PIXELS
    """Largest image, width times height: a file of a few bytes may claim billions of pixels and fill the memory."""
    follow_links: bool = False
    """Whether links inside the data folder may lead out of it; the data folder itself may always be a link."""
    images: Annotated[int, Field(ge=3)] = 300
    """`shapes` only: images in the training split (the test split has a third as many)."""
    size: Annotated[int, Field(ge=32, le=2048)] = 128
    """`shapes` only: side of an image in pixels."""
    loose: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """`shapes` only: how loosely training boxes are drawn, as a share of the box side (test boxes stay exact)."""
    long_tail: NonNegativeFloat = 0.0
    """`shapes` only: 0 for classes of equal number; larger values make a longer tail."""


class ModelConfig(Section):
    """The detector."""

    name: str = "nano"
    """`lite0` (begins from ImageNet), `lite0-cascade`, `nano`, `resnet18-fpn`, `resnet50-fpn`, `mobilenet-v3-fpn`,
    `inception-v2` (the paper's), `vgg16` (its baseline, of the original Faster R-CNN), `timm:NAME` or
    `package.module:builder`."""
    weights: str = "auto"
    """`auto`: ImageNet's where they are installed (`lite0`), else `none`; `imagenet` or `coco` (both download, and only
    when asked for), a run folder, the path of a checkpoint or of
    a backbone's weights, of which what fits is taken over, or `tf:PATH` of a TensorFlow checkpoint (`inception-v2`)."""
    freeze: str = "auto"
    """Layers of the backbone that keep their weights: `auto` as the detector has it (see docs/training.md), `none`,
    `stem`, `backbone`, or the name of a layer, for it and all before it."""
    min_size: Annotated[int, Field(ge=32)] = 240
    """Images are resized to this short side in pixels ..."""
    max_size: int = 320
    """... unless the long side would exceed this; at least `model.min_size`."""
    proposals: PositiveInt = 300
    """Proposals per image in evaluation (the paper: 300), and with `tf_compat` in training too."""
    tf_compat: bool = False
    """Train as TensorFlow's Object Detection API does: ground-truth boxes do not join the proposals, of which 64 are
    sampled, a quarter of them positive; images are resized its way; `inception-v2` leaves anchors that cross the border
    unused."""
    roi_dropout: Annotated[float, Field(ge=0, lt=1)] | Literal["none"] = "none"
    """Share of the second stage's features that dropout zeroes before its last layers in training (the paper keeps 0.2
    to 0.8 of them); `none`: as the detector has it, which is 0, but for `vgg16` 0.5."""

    @model_validator(mode="after")
    def _sizes_in_order(self) -> Self:
        if self.max_size < self.min_size:
            raise ConfigError(
                f"model.max_size: expected at least model.min_size ({self.min_size}), got {self.max_size}."
            )
        return self


class LossConfig(Section):
    """The box loss."""

    name: str = "smooth-iou"
    """A name from `smoothiou losses`, or `package.module:object`; options in brackets: `huber[delta=0.5]`. Two, as
    `huber/smooth-iou`, are of the first and of the second stage; a cascade may have one for each."""
    stages: Annotated[tuple[Literal["rpn", "roi"], ...], Field(min_length=1)] = STAGES
    """Where it replaces the detector's own: `rpn`, `roi` (all second stages of a cascade) or both."""
    weight: PositiveFloat = 1.0
    """Factor on the box loss in the replaced stages."""
    rpn_weight: PositiveFloat = 1.0
    """Another factor, on the first stage's box loss alone; `smoothiou calibrate` proposes it ..."""
    roi_weight: PositiveFloat = 1.0
    """... and this one, on the second stage's (of a cascade: on all of them): their deltas have other weights, so
    their gradients other sizes."""

    @field_validator("name")
    @classmethod
    def _readable(cls, name: str) -> str:
        split_stages(name)
        return name

    @field_validator("stages")
    @classmethod
    def _each_once(cls, stages: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(stages)) < len(stages):
            raise ConfigError(f"loss.stages: expected each stage once, got {', '.join(stages)}.")
        return stages


class OptimConfig(Section):
    """Optimizer, learning rate and clipping."""

    name: Literal["adamw", "sgd", "rmsprop", "tf-rmsprop"] = "adamw"
    """Optimizer; `tf-rmsprop` is RMSProp as TensorFlow 1 computes it, which torch's is not (the paper's)."""
    lr: PositiveFloat = 0.001
    """Learning rate (the peak, for `warmup-cosine`), for a batch of `train.batch_size` images in all processes
    together."""
    schedule: Literal["warmup-cosine", "step", "constant"] = "warmup-cosine"
    """`warmup-cosine` rises linearly and falls as half a cosine; `step` divides the rate by 10 every `step_every`
    steps, as the paper does."""
    step_every: PositiveInt = 50_000
    """For `step`."""
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """For `warmup-cosine`: share of the steps over which the rate rises."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """For `sgd`, `rmsprop` and `tf-rmsprop`."""
    epsilon: PositiveFloat = 1.0
    """For `tf-rmsprop`: added to the mean square of the gradient, under the root; 1 is that API's default."""
    weight_decay: NonNegativeFloat = 0.0001
    """Decay of weights (decoupled for `adamw`; never of biases and norms)."""
    clip_norm: NonNegativeFloat = 10.0
    """Largest global norm of a gradient; 0 switches clipping off."""
    clip_by: Literal["global", "variable"] = "global"
    """Whether `clip_norm` limits the norm of all gradients together, or of each `variable`'s, as an older trainer of
    TensorFlow does."""


class TrainConfig(Section):
    """Length, batch, device, and how often something is written."""

    steps: PositiveInt = 400
    """Optimizer steps."""
    batch_size: PositiveInt = 4
    """Images per step, in all processes together."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Decides initial weights, order of the data, augmentation and sampling; equal for all losses that are compared."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 where the hardware multiplies it natively, else fp32, as where depthwise convolutions train on a CPU
    (`lite0`, unless its whole backbone is frozen). Losses are fp32 always."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of a horizontal flip (the paper names no augmentation)."""
    augment: Literal["none", "flip", "photometric", "scale", "crop"] = "flip"
    """What happens to training images: nothing; the flips; or flips and one more, see docs/training.md: other colours,
    another size, or a part of the image."""
    workers: NonNegativeInt = 0
    """Loader processes; 0 decodes in the training process, which the image cache makes cheap."""
    cache_mb: NonNegativeInt = 1024
    """Memory for decoded and resized images; those that do not fit are decoded in each epoch."""
    feature_mb: NonNegativeInt = 1024
    """MiB of memory for the feature maps of a frozen backbone (`model.freeze = "backbone"`), which are then computed
    once for each image and its mirror image; as many again go to the run folder until its end. 0: none are kept."""
    feature_folder: str = ""
    """Where these feature maps are kept for other runs, too, all of them on disk; `compare` gives the trainings of a
    study one. Empty: the run's own."""
    compile: bool = False
    """Compile the detector's backbone with `torch.compile`: half a minute, which a CPU never earns back."""
    compile_loss: Literal["auto", "yes", "no"] = "auto"
    """Compile the box losses with `torch.compile`; `auto`: on CUDA, where it saves kernel launches, not on a CPU."""
    log_every: PositiveInt = 10
    """Steps between two rows of metrics.csv."""
    log: str = "none"
    """Where these rows go, too: `tensorboard` (RUN/tensorboard), `wandb`, `mlflow`, or `package.module:object` of your
    own, called as object(folder=, config=, step=) and returning what has `log(step, row)`."""
    eval_every: NonNegativeInt = 0
    """Steps between evaluations on the val split, for curves and best.ckpt; 0: none."""
    patience: NonNegativeInt = 0
    """Evaluations without a better AP on the val split after which the training ends; 0: it always ends with the last
    step. Not for `compare`, whose losses train for equally long."""
    save_seconds: PositiveFloat = 60.0
    """Seconds between two saves of last.ckpt; the end of an epoch is saved too, if the last save is 10 seconds old."""
    deterministic: bool = False
    """Only operations that give the same bits each time, on a GPU too; a CPU's do so anyway."""
    wait_seconds: PositiveFloat = 1800.0
    """Seconds that the processes of one training wait for each other before the run is stopped."""
    load_seconds: PositiveFloat = 600.0
    """Seconds that loader processes may take for a batch before the run is stopped (`train.workers` above 0)."""

    @model_validator(mode="after")
    def _patience_looks(self) -> Self:
        if self.patience and not self.eval_every:
            raise ConfigError(
                f"train.patience: {self.patience} evaluations were asked for, but train.eval_every is 0.",
                hint="Say how often to evaluate, as --train.eval_every 100.",
            )
        return self


class EvalConfig(Section):
    """Inference and metrics."""

    batch_size: PositiveInt = 8
    """Images at a time."""
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Detections below this score are left out of predictions.json and of COCO's metrics (never of the mean IoU)."""
    max_detections: PositiveInt = 100
    """Detections per image, COCO's 100."""
    nms: Annotated[float, Field(gt=0, le=1)] = 0.5
    """IoU above which a lower-scored detection of the same class is suppressed."""
