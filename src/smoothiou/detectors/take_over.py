"""Fine-tuning: what fits of the weights of another training is taken over, part by part and class by class."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from smoothiou.detectors.pretrained import LAST_LAYERS, Weights, absorb_zero_eps, class_count, first_names
from smoothiou.errors import CheckpointError

State = Mapping[str, Tensor]

RESTS_ON = {"pyramid": "backbone", "RPN": "pyramid", "box head": "pyramid", "last layers": "box head"}
"""What a part gets its features from: on another one its weights are worth nothing."""


def take_over(model: nn.Module, weights: Weights, *, classes: Sequence[str]) -> tuple[str, ...]:
    """Load what fits of a state dict into a detector, and return what was taken over and what stays random.

    A part (backbone, pyramid, RPN, box head) is loaded whole or not at all, and only with the part that it rests on. Of
    the last layers each class gets the rows of the class of the same name, wherever the file has them.

    Args:
        model: the detector, with random weights.
        weights: of a detector, of a backbone, or of a classifier of torchvision's.
        classes: names of the detector's classes.

    Raises:
        CheckpointError: the backbone does not fit; nothing was loaded.
    """
    state, expected = _in_names_of(model, weights.state), model.state_dict()
    parts = _parts(model, expected)
    if misfit := _misfit(parts["backbone"], state, expected):
        raise CheckpointError(
            f"{weights.source} holds another backbone than the detector: {misfit}.",
            hint="Choose the detector that it was made by (--model); in a run folder, config.toml names it.",
        )
    fits = {"backbone": True}
    for part, rest in RESTS_ON.items():
        whole = part == "last layers" or not _misfit(parts[part], state, expected)
        fits[part] = fits[rest] and whole
    loaded = {key: state[key] for part in fits if fits[part] for key in parts[part] if key in state}
    notes = []
    if fits["last layers"]:
        rows, note = _rows(parts["last layers"], state, expected, classes=classes, known=weights.classes)
        loaded = {key: value for key, value in loaded.items() if not LAST_LAYERS.match(key)} | rows
        notes.append(note)
    model.load_state_dict({**expected, **loaded})
    if weights.zero_eps:
        absorb_zero_eps(model)
    named = [part for part in fits if parts[part] and part != "last layers"]
    taken = ", ".join(part for part in named if fits[part])
    random = ", ".join(part for part in (*named, "last layers") if not fits[part])
    return f"{weights.source}: {taken} taken over" + (f"; random: {random}." if random else "."), *notes


def is_backbone_alone(state: State) -> bool:
    """Return whether a state dict has neither an RPN nor a second stage."""
    return not any(re.match(r"((module|model)\.)?(rpn|roi_heads)\.", key) for key in state)


def _parts(model: nn.Module, keys: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return the keys of each part of a detector."""
    prefixes = {"backbone": _body_prefix(model), "pyramid": "backbone.", "RPN": "rpn.", "box head": ""}
    parts: dict[str, list[str]] = {part: [] for part in (*prefixes, "last layers")}
    for key in keys:
        named = next(part for part, prefix in prefixes.items() if key.startswith(prefix))
        parts["last layers" if LAST_LAYERS.match(key) else named].append(key)
    return parts


def _body_prefix(model: nn.Module) -> str:
    return "backbone.body." if hasattr(model.backbone, "body") else "backbone."


def _misfit(keys: Sequence[str], state: State, expected: State) -> str:
    """Return which entries of a part are missing or of another shape; "" if it fits."""
    needed = [key for key in keys if not key.endswith("num_batches_tracked")]  # frozen norms do not count
    missing = [key for key in needed if key not in state]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in needed
        if key in state and state[key].shape != expected[key].shape
    ]
    kinds = {"missing": missing, "of another shape": shapes}
    return "; ".join(f"{kind} {first_names(names)}" for kind, names in kinds.items() if names)


def _rows(
    keys: Sequence[str], state: State, expected: State, *, classes: Sequence[str], known: Sequence[str] | None
) -> tuple[dict[str, Tensor], str]:
    """Return the last layers with the rows of the classes that both sides have, and a note on them.

    Layers have a row, or four rows of deltas, for the background and then for each class; those of a cascade have four
    rows of deltas for all classes together.
    """
    given = class_count(state)
    shared = {key: state[key] for key in keys if key in state and _is_shared(key, expected[key])}
    by_class = {key: (state[key], expected[key]) for key in keys if key in state and key not in shared}
    fits = all(value.shape == expected[key].shape for key, value in shared.items())
    fits &= all(_divided(old, given) == _divided(new, len(classes)) for old, new in by_class.values())
    if not fits or len(shared) + len(by_class) < len(keys):
        return {}, "It has no last layers that fit: they start random."
    if known is None and given != len(classes):
        return {}, f"The file does not name its {given} classes: the last layers start random."
    names = list(classes) if known is None else list(known)
    pairs = [(index + 1, names.index(name) + 1) for index, name in enumerate(classes) if name in names]
    if not pairs:
        return {}, (
            f"0 of {len(classes)} classes taken over: the file has {first_names(names)}, and none of "
            f"{first_names(list(classes))}; the last layers start random. Classes that are the same need the same name."
        )
    rows = dict(shared)
    for key, (old, new) in by_class.items():
        ours, theirs = new.clone().unflatten(0, (len(classes) + 1, -1)), old.unflatten(0, (given + 1, -1))
        for index, other in [(0, 0), *pairs]:
            ours[index] = theirs[other].to(new)
        rows[key] = ours.flatten(0, 1)
    return rows, _note(classes, names, named=known is not None)


def _is_shared(key: str, value: Tensor) -> bool:
    """Return whether all classes share a layer's deltas; with one row of them for each there are eight or more."""
    return ".bbox_pred." in key and len(value) == 4


def _divided(value: Tensor, classes: int) -> tuple[int, ...]:
    """Return the shape of a layer's weights for one class; () if it has no whole number of rows for each."""
    rows, rest = divmod(len(value), classes + 1)
    return () if rest else (rows, *value.shape[1:])


def _note(classes: Sequence[str], names: Sequence[str], *, named: bool) -> str:
    if not named:
        return f"The file does not name its classes: taken to be {first_names(list(classes))}, in this order."
    taken = [name for name in classes if name in names]
    text = f"{len(taken)} of {len(classes)} classes taken over: {first_names(taken)}"
    if random := [name for name in classes if name not in names]:
        text += f"; random: {first_names(random)}"
    if list(classes) != list(names)[: len(classes)]:
        text += "; by name, since the file has them in another order" if set(classes) <= set(names) else ""
    return f"{text}."


def _in_names_of(model: nn.Module, state: State) -> dict[str, Tensor]:
    """Return a state dict in the detector's names, whichever of the usual ways of naming layers it follows."""
    state = {re.sub(r"^(module|model)\.", "", key): value for key, value in state.items()}
    prefix, expected = _body_prefix(model), model.state_dict()
    renamings: list[Callable[[str], str]] = [
        str,
        _as_torchvision_now,
        lambda key: f"backbone.{key}",
        lambda key: f"{prefix}{key}",
        lambda key: f"{prefix}{key.removeprefix('features.')}",  # classifiers of torchvision's
    ]
    ways = [{rename(key): value for key, value in state.items()} for rename in renamings]
    if names := getattr(model.backbone, "imagenet_names", None):
        kinds = ("weight", "bias")
        pairs = [(f"{ours}.{kind}", f"{theirs}.{kind}") for ours, theirs in names.items() for kind in kinds]
        ways.append({ours: state[theirs] for ours, theirs in pairs if theirs in state})
    return max(ways, key=lambda way: sum(key in expected and way[key].shape == expected[key].shape for key in way))


def _as_torchvision_now(key: str) -> str:
    """Return a key of torchvision's files of 2019 as its detectors have it since 2022."""
    key = re.sub(r"^(rpn\.head\.conv)\.(weight|bias)$", r"\1.0.0.\2", key)
    return re.sub(r"^(backbone\.fpn\.\w+_blocks\.\d)\.(weight|bias)$", r"\1.0.\2", key)
