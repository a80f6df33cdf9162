"""A trained detector as one file for other programs, and the proof that it finds the same boxes there."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from smoothiou.detectors.exportable import OneImage, OneImageScript, exportable
from smoothiou.engine.evaluate import open_images
from smoothiou.engine.predictor import Run
from smoothiou.errors import ConfigError, SmoothIoUError
from smoothiou.files import first_line, unwritable, write_bytes
from smoothiou.manifest import version

OPSET = 17
"""Of ONNX; the first with everything that torchvision's detectors need is 16."""
COUNTED = 0.05
"""Least score of the boxes that are compared: beneath, suppression of near ties depends on the last bit."""

Exported = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""An image (3, H, W) in [0, 1] to boxes (N, 4), scores (N,) and labels (N,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How an exported detector agrees with the original.

    Args:
        images: that both have seen.
        sizes: number of different sizes among them.
        empty: images in which neither finds anything of a score of `COUNTED` or more.
        boxes: that the original finds there, and `agree` of them that the export finds too, within the limits.
        extra: that only the export finds.
        pixels, score: largest differences among the boxes that both find.
    """

    images: int
    sizes: int
    empty: int
    boxes: int
    agree: int
    extra: int
    pixels: float
    score: float

    @property
    def holds(self) -> bool:
        """Whether every box agrees."""
        return self.agree == self.boxes and self.extra == 0

    def line(self, runtime: str) -> str:
        """Return the numbers in one line."""
        sizes = f"{self.sizes} sizes" if self.sizes != 1 else "1 size"
        return (
            f"{runtime}: {self.agree} of {self.boxes} boxes agree on {self.images} images ({sizes}, {self.empty} "
            f"without a detection), {self.extra} more; largest difference {self.pixels:.2g} px, "
            f"{self.score:.2g} in score"
        )


def export_and_compare(
    run: Run,
    path: str | Path | None,
    *,
    to: str,
    data: str | None,
    images: int,
    pixels: float,
    score: float,
    say: Callable[[str], object] = str,
) -> dict[str, Any]:
    """Write the detector of a run, run it there too, and compare; for arguments and errors see `Run.export`.

    Args:
        run: which is opened anew on the CPU in float32, as the export computes: in bf16, in which it may have been
            trained, boxes of nearly equal scores suppress each other the other way round.
        say: called with a line on how the two agree.
    """
    if images < 0:
        raise ConfigError(f"--images: expected 0 or more, got {images}.")
    if not (pixels >= 0 and score >= 0):  # NaN is neither
        raise ConfigError(f"--pixels {pixels} --score {score}: expected 0 or more.")
    if to == "onnx":
        require("onnx")
        if images:
            require("onnxruntime")
    run = Run(run.folder, checkpoint=run.checkpoint, device="cpu", precision="fp32")
    pictures = with_odd_images(open_images(run.opened.config, data=data, most=images)) if images else []
    path = Path(path or run.folder / ("model.onnx" if to == "onnx" else "model.pt"))
    result: dict[str, Any] = {"file": str(path), "metadata": export_run(run, path, to=to)}
    if not pictures:
        return result
    exported, runtime = open_exported(path)
    parity = compare_exported(run, exported, pictures, pixels=pixels, score=score)
    result["parity"] = {"runtime": runtime, **asdict(parity), "holds": parity.holds}
    line = parity.line(runtime)
    if not parity.holds:
        raise SmoothIoUError(
            f"{path}: {line}.", hint=f"Limits: {pixels} px and {score} in score (--pixels, --score).", details=result
        )
    say(line)
    return result


def export_run(run: Run, path: str | Path, *, to: str) -> dict[str, str]:
    """Write the detector of a run as ONNX or TorchScript, with class names and preprocessing in its metadata.

    Its input is one RGB image (3, H, W) of any size, float32 in [0, 1]; its outputs are boxes (N, 4) xyxy in pixels of
    that image, scores (N,) and labels (N,), counted from 1 in the order of the class names.

    Args:
        run: whose detector it is.
        path: of the file.
        to: "onnx" or "torchscript".

    Returns:
        The metadata.

    Raises:
        ConfigError: another form, or the package that it needs is missing.
        SmoothIoUError: the detector has parts that do not export, or the file cannot be written.
    """
    if to not in ("onnx", "torchscript"):
        raise ConfigError(f"--to: expected onnx or torchscript, got {to!r}.")
    if to == "onnx":
        require("onnx")
    model = exportable(run.opened.model)
    metadata = _metadata(run, to)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _quiet(), torch.no_grad():
            _to_onnx(model, path, metadata) if to == "onnx" else _to_torchscript(model, path, metadata)
    except SmoothIoUError:  # the file cannot be written
        raise
    except Exception as error:  # exporters raise what the code of a part happens to raise
        if isinstance(error, OSError) and error.errno is not None:  # not TorchScript's, which finds no source code
            raise unwritable(path, error) from error
        reason = first_line(error)[:300]
        raise SmoothIoUError(
            f"{run.opened.config.model.name} cannot be exported to {to}: {_failed_part(model, error)}{reason}"
        ) from error
    return metadata


def _failed_part(model: nn.Module, error: Exception) -> str:
    """Return the innermost part of a detector at which an exporter stopped, as "name (class): "; "" for none."""
    names = {id(module): f"{name} ({type(module).__name__}): " for name, module in model.named_modules() if name}
    part = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for variable in ("self", "nn_module"):  # of a part that is traced, and of TorchScript's compiler
            part = names.get(id(frame.f_locals.get(variable)), part)
    return part


def open_exported(path: str | Path) -> tuple[Exported, str]:
    """Return what runs an exported file on a CPU, as a function of an image (3, H, W), and its name and version."""
    if not zipfile.is_zipfile(path):  # as TorchScript is, whatever the file is called
        require("onnxruntime")
        import onnxruntime

        session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda image: session.run(None, {"image": image}), f"onnxruntime {onnxruntime.__version__}"
    with _quiet():
        script = torch.jit.load(str(path))

    def run(image: np.ndarray) -> Any:
        with _quiet(), torch.no_grad():
            return [output.numpy() for output in script(torch.from_numpy(image))]

    return run, f"TorchScript, torch {torch.__version__}"


def compare_exported(
    run: Run, exported: Exported, images: Sequence[Image.Image], *, pixels: float = 0.5, score: float = 0.01
) -> Parity:
    """Return how an exported detector agrees with the original.

    Args:
        run: the original.
        exported: the exported one.
        images: RGB.
        pixels, score: limits within which a box of the same class is the same box.
    """
    boxes = agree = extra = empty = 0
    most_pixels = most_score = 0.0
    for image in images:
        ours = run.predict(image, score=COUNTED)
        tensor = np.ascontiguousarray(np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255)
        their_boxes, their_scores, their_labels = exported(tensor)
        names = [run.classes[label - 1] for label in their_labels]
        free = [index for index, value in enumerate(their_scores) if value >= COUNTED - score]
        for box, value, name in zip(*ours, strict=True):
            same = [index for index in free if names[index] == name]
            distances = {index: float(np.abs(their_boxes[index] - box).max()) for index in same}
            apart = {index: distance for index, distance in distances.items() if math.isfinite(distance)}
            nearest = min(apart, key=apart.__getitem__, default=None)
            if nearest is None or apart[nearest] > pixels or abs(their_scores[nearest] - value) > score:
                continue
            free.remove(nearest)
            agree += 1
            most_pixels = max(most_pixels, apart[nearest])
            most_score = max(most_score, abs(float(their_scores[nearest] - value)))
        boxes += len(ours.boxes)
        extra += sum(their_scores[index] >= COUNTED + score for index in free)
        empty += not len(ours.boxes) and not (their_scores >= COUNTED).any()
    return Parity(
        images=len(images), sizes=len({image.size for image in images}), empty=empty, boxes=boxes, agree=agree,
        extra=int(extra), pixels=most_pixels, score=most_score,
    )  # fmt: skip


def with_odd_images(images: Sequence[Image.Image]) -> list[Image.Image]:
    """Return the images and two that are unlike them: one of another size and shape, and a black one with no object."""
    first = images[0]
    odd = first.transpose(Image.Transpose.ROTATE_90).resize((max(32, first.height // 2), max(32, first.width * 2 // 3)))
    return [*images, odd, Image.new("RGB", (96, 64))]


def require(package: str) -> None:
    """Stop where an optional package is missing.

    Raises:
        ConfigError: with what installs it.
    """
    if find_spec(package) is None:
        raise ConfigError(f"export needs {package}, which is not installed.", hint="pip install 'smoothiou[export]'")


def _metadata(run: Run, to: str) -> dict[str, str]:
    config = run.opened.config
    return {
        "names": json.dumps(dict(enumerate(run.classes, 1)), ensure_ascii=False),
        "input": "image: float32 (3, H, W), RGB, 0 to 1, any size; it is resized and normalised inside",
        "outputs": "boxes (N, 4) xyxy in pixels of the input, scores (N,), labels (N,) as in names; best first",
        "min_size": str(config.model.min_size),
        "max_size": str(config.model.max_size),
        "score_threshold": str(config.eval.score_threshold),
        "nms": str(config.eval.nms),
        "max_detections": str(config.eval.max_detections),
        "detector": config.model.name,
        "step": str(run.opened.step),
        "producer": f"smoothiou {version()}",
        **({"opset": str(OPSET)} if to == "onnx" else {}),
    }


def _to_onnx(model: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    import onnx

    # An example in which something is found keeps every branch; sizes stay free.
    example = torch.rand(3, 180, 240, generator=torch.Generator().manual_seed(0))
    free = {"image": {1: "height", 2: "width"}, "boxes": {0: "n"}, "scores": {0: "n"}, "labels": {0: "n"}}
    with tempfile.TemporaryDirectory() as folder:  # a file that is there stays until the new one is whole
        file = str(Path(folder) / "model.onnx")
        torch.onnx.export(
            OneImage(model).eval(), (example,), file, opset_version=OPSET, dynamo=False,
            input_names=["image"], output_names=["boxes", "scores", "labels"], dynamic_axes=free,
        )  # fmt: skip
        written = onnx.load(file)
    onnx.checker.check_model(written)
    for key, value in metadata.items():
        entry = written.metadata_props.add()
        entry.key, entry.value = key, value
    write_bytes(path, written.SerializeToString())


def _to_torchscript(model: Any, path: Path, metadata: dict[str, str]) -> None:
    try:
        model.backbone = torch.jit.script(model.backbone)
    except Exception:  # a backbone of Python that TorchScript does not read is traced; sizes stay free
        model.backbone = torch.jit.trace(model.backbone, torch.rand(1, 3, 192, 256), strict=False, check_trace=False)
    script = torch.jit.script(OneImageScript(model).eval())
    buffer = io.BytesIO()  # torch ends the process where it cannot write to a file
    torch.jit.save(script, buffer, _extra_files={"metadata.json": json.dumps(metadata)})
    write_bytes(path, buffer.getvalue())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what exporters say about traced Python values, of which torchvision knows."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
