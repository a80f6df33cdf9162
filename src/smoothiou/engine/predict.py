"""Detections in many images: pictures, and files that other tools read."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from smoothiou.data.faults import first_names
from smoothiou.data.image_finder import NO_IMAGES, SUFFIXES, list_images
from smoothiou.data.images import read_header
from smoothiou.data.listing import is_companion
from smoothiou.engine.prediction_files import FORMATS, write_predictions
from smoothiou.engine.predictor import Prediction, Score, load_run
from smoothiou.errors import ConfigError, DataError, did_you_mean
from smoothiou.files import write_bytes
from smoothiou.words import counted

# Okabe and Ito's colours, which stay apart for colour-blind readers.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def predict_images(
    folder: str | Path,
    images: Sequence[str | Path],
    *,
    out: str | Path,
    score: Score = 0.5,
    checkpoint: str = "last",
    device: str | None = None,
    pictures: bool = True,
    formats: Sequence[str] = (),
    tile: int = 0,
    overlap: float = 0.2,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Any]:
    """Find objects in images with the weights of a run; one image is in memory at a time.

    Boxes are in pixels of the image as it is viewed: a photo that EXIF says to turn is turned first. Whatever ends the
    work, the detections until then are written.

    Args:
        folder: the run.
        images: files, globs, or folders that stand for every image in them.
        out: folder for predictions.json (COCO), predictions.csv, pictures and label files.
        score: least score of a box; see `Run.predict`.
        checkpoint: "last" or "best".
        device: in place of the run's.
        pictures: whether to draw the boxes: a JPEG of a JPEG, a PNG of all else.
        formats: "yolo" and "voc" for label files, too.
        tile: side of the tiles in which large images are looked at; 0: none.
        overlap: of the tiles.
        progress: called with how many of how many images are done, after each.

    Returns:
        {"images": [{"image", "name", "width", "height", "orientation", "picture", "boxes": [{"xyxy", "label",
        "score"}]}], "unreadable": [{"image", "problem"}], "left_out": what in folders is not named like an image}

    Raises:
        CheckpointError: no run, or weights that do not fit.
        ConfigError: an unknown format, or a number out of range.
        DataError: an image is missing, before anything is done; or some cannot be read, after all others are done
            (`details` has the result).
    """
    for format in formats:
        if format not in FORMATS:
            raise ConfigError(f"--format: {format!r} is no format of label files.", hint=did_you_mean(format, FORMATS))
    paths, out = image_files(images), Path(out)
    _refuse_taken(out, formats)
    predictor = load_run(folder, checkpoint=checkpoint, device=device)
    least = predictor.least_scores(score)
    predictions: list[dict[str, Any]] = []
    unreadable: list[dict[str, str]] = []
    try:
        for number, (path, name) in enumerate(zip(paths, _unique_names(paths), strict=True), 1):
            try:
                picture, orientation = predictor.read(path)
            except DataError as error:
                unreadable.append({"image": str(path), "problem": error.message})
            else:
                prediction = predictor.predict(picture, score=least, tile=tile, overlap=overlap)
                result: dict[str, Any] = {
                    "image": str(path),
                    "name": name,
                    "width": picture.width,
                    "height": picture.height,
                    "orientation": orientation,
                    "boxes": _rows(prediction),
                }
                if pictures:
                    result["picture"] = _save_picture(out, path, picture, result, predictor.classes)
                predictions.append(result)
            if progress:
                progress(number, len(paths))
    finally:
        write_predictions(out, predictions, predictor.classes, formats)
    summary = {"images": predictions, "unreadable": unreadable, "left_out": _left_out(images)}
    if unreadable:
        listed = "; ".join(entry["problem"].rstrip(".") for entry in unreadable[:10])
        more = f"; and {len(unreadable) - 10} more" if len(unreadable) > 10 else ""
        raise DataError(
            f"{counted(len(unreadable), 'file')} of {len(paths)} could not be read: {listed}{more}.",
            hint=f"The others are done: {out}." if predictions else "",
            details=summary,
        )
    return summary


def _refuse_taken(out: Path, formats: Sequence[str]) -> None:
    """Refuse a folder whose files are not of an earlier prediction."""
    if any((out / name).exists() for name in ("manifest.json", "plan.json", "config.toml")):
        raise ConfigError(f"{out} is a run or a study, whose own results must stay.", hint="Choose another --out.")
    for form, folder in (("yolo", "labels"), ("voc", "Annotations")):
        if form in formats and (out / folder).is_dir() and not (out / "predictions.csv").is_file():
            raise ConfigError(f"{out / folder} is not of an earlier prediction.", hint="Choose another --out.")


def _rows(prediction: Prediction) -> list[dict[str, Any]]:
    boxes, scores, labels = prediction
    return [
        {"xyxy": [round(v, 2) for v in box], "label": label, "score": round(score, 4)}
        for box, score, label in zip(boxes.tolist(), scores.tolist(), labels, strict=True)
    ]


def _save_picture(
    out: Path, path: Path, picture: Image.Image, result: Mapping[str, Any], classes: Sequence[str]
) -> str:
    """Write an image with its boxes, and return where: never under the name of the photo itself, in any folder."""
    jpeg = read_header(path).kind in ("JPEG", "MPO")
    target = out / f"{result['name']}-boxes{'.jpg' if jpeg else '.png'}"
    write_bytes(target, draw_boxes(picture, result["boxes"], classes, jpeg=jpeg))
    return str(target)


def summary_line(predictions: Sequence[dict[str, Any]], score: Score, *, left_out: Sequence[str] = ()) -> str:
    """Return one line on all images: how many boxes of which class, and what was not looked at."""
    counts = Counter(box["label"] for image in predictions for box in image["boxes"])
    classes = ", ".join(f"{name} {count}" for name, count in counts.most_common(8)) + ", ..." * (len(counts) > 8)
    empty = sum(not image["boxes"] for image in predictions)
    turned = sum(image["orientation"] != 1 for image in predictions)
    parts = [
        f"{counted(len(predictions), 'image')}: {counted(sum(counts.values()), 'box', 'boxes')}"
        + f" ({classes})" * bool(counts)
    ]
    if empty:
        least = "their class's best score" if score == "best" else f"score {score}"
        parts.append(f"{empty} with nothing of {least} or more (see --score)")
    if turned:
        parts.append(f"{turned} turned as EXIF says")
    if left_out:
        parts.append(f"left out of folders, not named like images: {first_names(left_out)}")
    return "; ".join(parts)


def image_files(images: Sequence[str | Path]) -> list[Path]:
    """Return the files that paths, folders and globs stand for; what systems leave beside photos is left out.

    Raises:
        DataError: nothing is there.
    """
    files: list[Path] = []
    for given in map(Path, images):
        if given.is_dir():
            inside = list_images(given)
            if not inside:
                raise DataError(f"{given}: no image in this folder.", hint=f"Known: {', '.join(sorted(SUFFIXES))}.")
            files += inside
        elif given.exists():
            files.append(given)
        elif any(sign in str(given) for sign in "*?["):
            root = Path(given.anchor)
            pattern = given.relative_to(root)
            matched = sorted(path for path in root.glob(str(pattern)) if path.is_file() and not _hidden(path, pattern))
            if not matched:
                raise DataError(f"{given}: no file matches.")
            files += matched
        else:
            raise DataError(f"{given}: no such file or folder.")
    return files


def _left_out(images: Sequence[str | Path]) -> list[str]:
    """Return the folders in given folders, and their files that are named neither like images nor like annotations."""
    children = (child for given in map(Path, images) if given.is_dir() for child in sorted(given.iterdir()))
    passed = (*SUFFIXES, *NO_IMAGES)
    return [
        f"{child}/" if child.is_dir() else str(child)
        for child in children
        if not is_companion(child.name) and (child.is_dir() or child.suffix.lower() not in passed)
    ]


def _hidden(path: Path, pattern: Path) -> bool:
    """Return whether a part of a path that the pattern does not spell out is a system's leftover, as `._a.jpg`."""
    return any(is_companion(part) and part not in pattern.parts for part in path.parts)


def draw_boxes(picture: Image.Image, boxes: Sequence[dict[str, Any]], classes: Sequence[str], *, jpeg: bool) -> bytes:
    """Return the picture with its boxes, as JPEG or PNG; lines and letters grow with it."""
    picture = picture.copy()
    draw, side = ImageDraw.Draw(picture), max(picture.size)
    font, width = ImageFont.load_default(max(11, side // 60)), max(2, side // 400)
    for box in boxes:
        colour = COLOURS[list(classes).index(box["label"]) % len(COLOURS)]
        left, top = box["xyxy"][:2]
        draw.rectangle(box["xyxy"], outline=colour, width=width)
        text = f"{box['label']} {box['score']:.2f}"
        corner = (left + width, top + width)
        draw.rectangle(draw.textbbox(corner, text, font=font), fill=colour)
        draw.text(corner, text, fill="black", font=font)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92) if jpeg else picture.save(buffer, "PNG")
    return buffer.getvalue()


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each image's files: its stem, with a number where two images have the same."""
    taken: Counter[str] = Counter()
    names = []
    for path in paths:
        name, number = path.stem, 2
        while taken[name.casefold()]:
            name, number = f"{path.stem}-{number}", number + 1
        taken[name.casefold()] += 1
        names.append(name)
    return names
