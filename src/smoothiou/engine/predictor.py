"""A run: its numbers, and its detector ready to use: an image in, boxes, scores and class names out.

import smoothiou
boxes, scores, names = smoothiou.load_run("runs/mine").predict("photo.jpg")
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision.ops import batched_nms

from smoothiou.data.faults import is_too_long
from smoothiou.data.images import read_header, read_image, view_image
from smoothiou.engine.evaluate import OpenedRun, measure_run, open_run
from smoothiou.engine.inference import run_detector
from smoothiou.engine.open_data import Data, data_setting, file_limits
from smoothiou.engine.tiles import touches_cut, windows
from smoothiou.errors import CheckpointError, ConfigError, DataError
from smoothiou.files import allowing, read_json

Score = float | Mapping[str, float] | Literal["best"]


class Prediction(NamedTuple):
    """The detections in one image, best first.

    Args:
        boxes: (N, 4) xyxy in pixels of the image as it is viewed, 0-based with an open end.
        scores: (N,) 0 to 1.
        names: of their classes.
    """

    boxes: np.ndarray
    scores: np.ndarray
    names: tuple[str, ...]


class Run:
    """A run folder: what it measured, and its detector, which is read at its first use.

    Args:
        folder: that `smoothiou train` has written, or a cell of a study.
        checkpoint: "last" or "best".
        device: "cpu", "cuda", "cuda:N"; None: the run's.
        precision: "fp32", "bf16", "auto"; None: the run's.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        checkpoint: str = "last",
        device: str | None = None,
        precision: str | None = None,
    ) -> None:
        self.folder, self.checkpoint, self.device, self.precision = Path(folder), checkpoint, device, precision

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, checkpoint={self.checkpoint!r})"

    @functools.cached_property
    def opened(self) -> OpenedRun:
        """Settings and detector, read from the folder.

        Raises:
            CheckpointError: no run, or weights that do not fit.
        """
        return open_run(self.folder, checkpoint=self.checkpoint, device=self.device, precision=self.precision)

    @property
    def result(self) -> dict[str, Any]:
        """The content of result.json (docs/schema/result.json): metrics, costs, versions.

        Raises:
            CheckpointError: the run is not finished.
        """
        if not (self.folder / "done").is_file():
            raise CheckpointError(
                f"{self.folder}: the run is not finished.", hint="Train it to its end, or measure it with `evaluate`."
            )
        return read_json(self.folder / "result.json")

    @property
    def metrics(self) -> dict[str, float | None]:
        """COCO's AP and AR on the test split, 0 to 1, by name ("AP", "AP75"); None where one is not defined."""
        return self.result["metrics"]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.opened.classes

    def evaluate(
        self,
        data: Data | None = None,
        *,
        split: str | None = None,
        selections: Sequence[str] = (),
        out: str | Path | None = None,
        quiet: bool = False,
    ) -> dict[str, Any]:
        """Measure the detector, as `smoothiou eval` does.

        Args:
            data: another data set than the run's, with the same classes; also `package.module:object` or a function of
                your own. None: the run's.
            split: another split than the test split.
            selections: other ways than NMS to select detections: "soft", "diou", "wbf".
            out: folder for truth.json, predictions.json and result.json; None: nothing is written.
            quiet: no progress.

        Returns:
            The content of result.json: "metrics" (COCO's, 0 to 1), "localization" (mean IoU), "per_class" and more.

        Raises:
            CheckpointError: no run, or weights that do not fit.
            DataError: the data cannot be read, or has other classes.
            ConfigError: an unknown selection, or `out` holds a run.
        """
        named = None if data is None else data_setting(data)
        return measure_run(
            self.folder, data=named, split=split, checkpoint=self.checkpoint, out=out, selections=selections,
            quiet=quiet, opened=self.opened,
        ).result  # fmt: skip

    def export(
        self,
        path: str | Path | None = None,
        *,
        to: Literal["onnx", "torchscript"] = "onnx",
        data: str | None = None,
        images: int = 16,
        pixels: float = 0.5,
        score: float = 0.01,
    ) -> dict[str, Any]:
        """Write the detector as ONNX or TorchScript, run it there, and compare, as `smoothiou export` does.

        Args:
            path: of the file; None: model.onnx or model.pt in the run's folder.
            to: "onnx" or "torchscript".
            data: compare on this data set instead of the run's.
            images: test images on which both are compared; 0: no comparison.
            pixels: largest difference of a corner, in pixels.
            score: largest difference of a score.

        Returns:
            "file", its "metadata", and "parity": how the two agree.

        Raises:
            ConfigError: another form, a number out of range, or the package that it needs is missing.
            SmoothIoUError: the detector has parts that do not export, or the two differ by more than the limits.
        """
        from smoothiou.engine.export import export_and_compare

        return export_and_compare(self, path, to=to, data=data, images=images, pixels=pixels, score=score)

    def predict(
        self, image: str | Path | Image.Image | np.ndarray, *, score: Score = 0.5, tile: int = 0, overlap: float = 0.2
    ) -> Prediction:
        """Return what is in an image.

        Args:
            image: a path, a PIL image (both are turned as their EXIF orientation says), or RGB pixels (H, W, 3) uint8.
            score: least score of a box, one for all or by class; "best" as measured at the end of training.
            tile: side in pixels of the square tiles in which a large image is looked at beside the whole; 0: none.
            overlap: share of a tile that it has in common with its neighbour.

        Returns:
            (boxes, scores, names), best first; see `Prediction`.

        Raises:
            DataError: the file is no image, too long a one, without pixels, or grey of an unknown range.
            ConfigError: a score, tile or overlap out of range.
        """
        least = self.least_scores(score)
        if isinstance(image, (str, Path)):
            picture = self.read(image)[0]
        else:
            picture = _rgb(image)
            self._refuse_long(picture, where="image")
        boxes, labels, scores = self._in_tiles(picture, tile, overlap) if tile else self._detect(picture)
        names = [self.classes[label - 1] for label in labels]
        good = [value >= least[name] for value, name in zip(scores, names, strict=True)]
        return Prediction(boxes[good], scores[good], tuple(itertools.compress(names, good)))

    def read(self, path: str | Path) -> tuple[Image.Image, int]:
        """Return an image as it is viewed, and the EXIF orientation by which its pixels were turned (1: not).

        Args:
            path: of an image file.

        Returns:
            The image in RGB, upright, and its orientation, 1 to 8.

        Raises:
            DataError: the file is no image.
        """
        with allowing(file_limits(self.opened.config.data)):
            picture = read_image(Path(path), upright=True)
            orientation = read_header(Path(path)).orientation
        self._refuse_long(picture, where=str(path))
        return Image.fromarray(np.asarray(picture)), orientation  # without EXIF, by which it would be turned again

    def _refuse_long(self, picture: Image.Image, *, where: str) -> None:
        if is_too_long(*picture.size, max_size=self.opened.config.model.max_size):
            size = f"{picture.width} x {picture.height} pixels"
            raise DataError(f"{where}: {size} are too long a picture.", hint="Crop it.")

    def least_scores(self, score: Score) -> dict[str, float]:
        """Return the least score of each class.

        Args:
            score: one for all classes, 0 to 1, one for each by name, or "best" as measured.

        Raises:
            ConfigError: out of range, or a class without one.
            CheckpointError: "best" where none was measured.
        """
        if score == "best" and self.checkpoint != "last":
            raise ConfigError("score: the best scores are those of the last weights.", hint="Name a score, as 0.5.")
        if score == "best":
            score = _best_scores(self.folder, self.classes)
        if not isinstance(score, Mapping):
            score = dict.fromkeys(self.classes, score)
        if missing := [name for name in self.classes if name not in score]:
            raise ConfigError(f"score: expected one for each class, got none for {', '.join(missing)}.")
        if wrong := [value for value in score.values() if not (isinstance(value, Real) and 0 <= value <= 1)]:
            raise ConfigError(f"score: expected 0 to 1, got {wrong[0]!r}.", hint='"best" takes the measured ones.')
        return {name: float(value) for name, value in score.items()}

    def _detect(self, picture: Image.Image) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes (N, 4), labels (N,) and scores (N,) of one image, best first."""
        outputs = run_detector(
            self.opened.model,
            [torch.from_numpy(np.array(picture)).permute(2, 0, 1)],
            batch_size=1,
            placement=self.opened.placement,
        )
        output = next(outputs)
        return output.boxes, output.labels, output.scores

    def _in_tiles(self, picture: Image.Image, tile: int, overlap: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the detections of the whole image and of its tiles, the same object once.

        A box that a tile cuts is left out: its neighbour, or else the whole image, has all of it.
        """
        detections = [self._detect(picture)]
        for window in windows(picture.size, tile=tile, overlap=overlap):
            boxes, labels, scores = self._detect(picture.crop(window))
            boxes = boxes + np.array([window[0], window[1]] * 2)
            whole = ~touches_cut(boxes, window, picture.size)
            detections.append((boxes[whole], labels[whole], scores[whole]))
        boxes, labels, scores = (np.concatenate(parts) for parts in zip(*detections, strict=True))
        arguments = (torch.from_numpy(boxes).float(), torch.from_numpy(scores), torch.from_numpy(labels))
        rows = batched_nms(*arguments, self.opened.config.eval.nms).numpy()
        return boxes[rows], labels[rows], scores[rows]


def load_run(run: str | Path, *, checkpoint: str = "last", device: str | None = None) -> Run:
    """Return a run by its folder; neither its data nor the network is needed, and no code of it is run.

    Args:
        run: folder that `smoothiou train` has written, or a cell of a study.
        checkpoint: "last" or "best".
        device: "cpu", "cuda", "cuda:N"; by default the run's.

    Returns:
        The run, its detector in evaluation mode on the device.

    Raises:
        CheckpointError: no run, or weights that do not fit.
    """
    loaded = Run(run, checkpoint=checkpoint, device=device)
    _ = loaded.opened  # a fault is met here, and not at the first image
    return loaded


def _rgb(image: Image.Image | np.ndarray) -> Image.Image:
    if not isinstance(image, Image.Image):
        pixels: Any = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ConfigError(f"image: expected (H, W, 3) of uint8, got {pixels.shape} of {pixels.dtype}.")
        image = Image.fromarray(pixels)
    if 0 in image.size:
        raise DataError("image: it has no pixels.")
    return view_image(image, where="image")


def _best_scores(folder: Path, classes: tuple[str, ...]) -> dict[str, float]:
    best = read_json(folder / "result.json").get("best_scores") if (folder / "result.json").is_file() else None
    if not best:
        raise CheckpointError(
            f"{folder}: its result.json has no best scores.",
            hint="They are measured when a training ends; name a score, as --score 0.5.",
        )
    chosen = {name: entry["score"] for name, entry in best["per_class"].items()}
    # A class of which nothing was found has none; then the usual one.
    return {name: score if (score := chosen.get(name)) is not None else 0.5 for name in classes}
