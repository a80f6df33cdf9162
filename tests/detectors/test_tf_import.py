"""Weights from TensorFlow into the detector: each in its place, all or nothing, and what was left out is said."""

from __future__ import annotations

import copy
import csv
import json
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from smoothiou.detectors.inception_rcnn import build_inception_v2
from smoothiou.detectors.inception_v2 import InceptionV2Features
from smoothiou.detectors.tf_checkpoint import open_tf_checkpoint
from smoothiou.detectors.tf_import import load_tf_checkpoint, map_detector, map_stage
from smoothiou.errors import CheckpointError, ConfigError
from tests.detectors.hosts import same
from tests.detectors.tf_writer import number, write_tf_checkpoint


def tiny(*, classes=3):
    """All layers of the detector, each 16 channels wide."""
    return build_inception_v2(num_classes=classes + 1, pretrained=True, depth_multiplier=0.01, rpn_channels=8)


@pytest.fixture(scope="module")
def variables():
    """Random TensorFlow variables for `tiny()`, with a step count."""
    random = np.random.default_rng(0)
    found = {place.variable: random.uniform(0.5, 1.5, place.shape).astype(np.float32) for place in map_detector(tiny())}
    return {**found, "global_step": np.array(5, np.int64)}


@pytest.fixture(scope="module")
def written(variables, tmp_path_factory):
    """The same, as files."""
    return write_tf_checkpoint(tmp_path_factory.mktemp("tf") / "model.ckpt", variables, per_block=50)


def test_each_kind_of_layer_gets_its_numbers_in_torchs_order(variables, written):
    model = tiny()
    load_tf_checkpoint(model, written)
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    first, second = "FirstStageFeatureExtractor/InceptionV2", "SecondStageFeatureExtractor/InceptionV2"

    ours = state["backbone.Mixed_3b.Branch_1.Conv2d_0b_3x3.conv.weight"]
    theirs = variables[f"{first}/Mixed_3b/Branch_1/Conv2d_0b_3x3/weights"]
    assert all(ours[o, i, y, x] == theirs[y, x, i, o] for o, i, y, x in np.ndindex(*ours.shape))

    ours = state["backbone.Conv2d_1a_7x7.depthwise.weight"]
    theirs = variables[f"{first}/Conv2d_1a_7x7/depthwise_weights"]
    assert ours.shape == (15, 1, 7, 7)
    assert all(ours[c * 5 + m, 0, y, x] == theirs[y, x, c, m] for y, x, c, m in np.ndindex(*theirs.shape))

    norm, batch_norm = "roi_heads.box_head.Mixed_5c.Branch_3.Conv2d_0b_1x1.norm", f"{second}/Mixed_5c/Branch_3"
    for ours, theirs in {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }.items():
        assert np.array_equal(state[f"{norm}.{ours}"], variables[f"{batch_norm}/Conv2d_0b_1x1/BatchNorm/{theirs}"])

    # Codes are (ty, tx, th, tw) there and (tx, ty, tw, th) here; torchvision has a background row in front.
    ours = state["rpn.head.bbox_pred.bias"].reshape(12, 4)
    assert np.array_equal(
        ours, variables["FirstStageBoxPredictor/BoxEncodingPredictor/biases"].reshape(12, 4)[:, [1, 0, 3, 2]]
    )
    ours = state["roi_heads.box_predictor.bbox_pred.weight"].reshape(4, 4, -1)
    theirs = variables["SecondStageBoxPredictor/BoxEncodingPredictor/weights"].T.reshape(3, 4, -1)
    assert np.array_equal(ours[1:], theirs[:, [1, 0, 3, 2]])
    assert not ours[0].any()
    ours = state["roi_heads.box_predictor.cls_score.weight"]
    assert np.array_equal(ours, variables["SecondStageBoxPredictor/ClassPredictor/weights"].T)


def test_all_is_loaded_and_the_list_says_so(written):
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    imported = load_tf_checkpoint(model, written)
    assert len(imported.loaded) == 356
    assert imported.skipped == {"global_step": "a count of steps and no weight"}
    lines = [" ".join(line.split()) for line in imported.note.splitlines()]
    assert lines[0] == f"{written}: 356 of 357 variables loaded"
    assert "loaded 2 of Conv" in lines
    assert "loaded 4 of FirstStageBoxPredictor" in lines
    assert sum(int(line.split()[1]) for line in lines if line.startswith("loaded")) == 356
    assert lines[-1] == "skipped global_step: a count of steps and no weight"
    after = model.state_dict()
    assert all(not torch.equal(before[key], after[key]) for key in after)


def test_the_last_layers_stay_random_for_other_classes(variables, written):
    torch.manual_seed(3)
    model = tiny(classes=5)
    before = copy.deepcopy(model.state_dict())
    imported = load_tf_checkpoint(model, written)
    assert len(imported.loaded) == 352
    reason = "3 classes in the checkpoint, 5 in the detector: these layers stay random"
    assert [name for name, why in imported.skipped.items() if why == reason] == sorted(
        f"SecondStageBoxPredictor/{layer}/{kind}"
        for layer in ("BoxEncodingPredictor", "ClassPredictor")
        for kind in ("biases", "weights")
    )
    after = model.state_dict()
    kept = [key for key in after if torch.equal(before[key], after[key])]
    assert kept == [key for key in after if key.startswith("roi_heads.box_predictor.")]
    assert np.array_equal(after["rpn.head.conv.bias"].numpy(), variables["Conv/biases"])


def test_what_a_training_leaves_in_its_checkpoint_is_skipped_with_a_reason(variables, tmp_path):
    ones = np.ones(8, np.float32)
    more = {
        "Conv/biases/Momentum": ones,
        "Conv/biases/RMSProp_1": ones,
        "Conv/biases/ExponentialMovingAverage": ones,
        "Mask/biases": ones,
    }
    prefix = write_tf_checkpoint(tmp_path / "m", {**variables, **more}, extra={"text": number(1, 7)}, per_block=50)
    imported = load_tf_checkpoint(tiny(), prefix)
    assert len(imported.loaded) == 356
    assert imported.skipped == {
        "Conv/biases/ExponentialMovingAverage": "a moving average",
        "Conv/biases/Momentum": "the state of an optimizer",
        "Conv/biases/RMSProp_1": "the state of an optimizer",
        "Mask/biases": "this detector has no such layer",
        "global_step": "a count of steps and no weight",
        "text": "this detector has no such layer",
    }
    assert "Conv/biases/Momentum, Conv/biases/RMSProp_1: the state of an optimizer" in imported.note


CLASS_BIASES = "SecondStageBoxPredictor/ClassPredictor/biases"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Conv/weights": None}, "missing Conv/weights"),
        ({"Conv/biases": np.ones(9, np.float32)}, r"Conv/biases \[9\]"),
        ({"Conv/biases": np.ones(8, np.int64)}, "Conv/biases int64"),
        ({"Conv/biases": np.array([np.nan] * 8, np.float32)}, "Conv/biases .*finite"),
        ({CLASS_BIASES: None}, f"missing {CLASS_BIASES}"),
        # Not the last layers of any number of classes: damage, and no reason to leave them out.
        ({CLASS_BIASES: np.ones(7, np.float32)}, rf"{CLASS_BIASES} \[7\]"),
        ({CLASS_BIASES: np.array(1, np.float32)}, rf"{CLASS_BIASES} \[\]"),
    ],
)
def test_a_misfit_is_named_and_nothing_is_half_loaded(variables, tmp_path, change, message):
    kept = {name: change.get(name, array) for name, array in variables.items()}
    kept = {name: array for name, array in kept.items() if array is not None}
    prefix = write_tf_checkpoint(tmp_path / "m", kept, per_block=50)
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError, match=rf"m\.index:? .*{message}"):
        load_tf_checkpoint(model, prefix)
    assert same(model.state_dict(), before)


@pytest.mark.parametrize("share", [0.0, 0.4, 0.99])
def test_data_that_is_cut_off_leaves_the_model_alone(written, tmp_path, share):
    for file in written.parent.iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[: int(share * len(content))] if "data" in file.name else content)
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError, match="cut off"):
        load_tf_checkpoint(model, tmp_path)
    assert same(model.state_dict(), before)


def test_the_last_variable_with_a_wrong_checksum_leaves_the_model_alone(variables, tmp_path):
    last = sorted(variables)[-2]  # the one before global_step, which is not read
    prefix = write_tf_checkpoint(tmp_path / "m", variables, changed={last: {"checksum": bytes(4)}}, per_block=50)
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError, match=f"damaged: {last}"):
        load_tf_checkpoint(model, prefix)
    assert same(model.state_dict(), before)


def test_other_detectors_are_refused(stock, written):
    with pytest.raises(ConfigError, match="inception-v2"):
        load_tf_checkpoint(stock, written)


def test_the_full_detector_has_the_published_counts():
    model = build_inception_v2(num_classes=91, pretrained=True)
    counts: dict[str, list[int]] = {}
    for place in map_detector(model):
        counts.setdefault(place.variable.split("/")[0], []).append(int(np.prod(place.shape)))
    assert {scope: (len(sizes), sum(sizes)) for scope, sizes in counts.items()} == {
        "FirstStageFeatureExtractor": (251, 4_273_048),
        "SecondStageFeatureExtractor": (95, 5_910_144),
        "Conv": (2, 2_654_720),
        "FirstStageBoxPredictor": (4, 36_936),
        "SecondStageBoxPredictor": (4, 462_275),
    }


# --- against TensorFlow's own files --------------------------------------------------------------------------------


def read_table(path):
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_the_published_checkpoint_would_be_loaded_to_the_last_variable(tensorflow):
    rows = read_table(tensorflow / "detection_checkpoint_variables.tsv")
    theirs = {row["name"]: tuple(json.loads(row["shape"])) for row in rows}
    model = build_inception_v2(num_classes=91, pretrained=True)
    ours = {place.variable: place.shape for place in map_detector(model)}
    assert len(theirs) == 357
    assert theirs == {**ours, "global_step": ()}


def test_a_checkpoint_of_the_root_alone_fills_the_root(tensorflow):
    # Depth multiplier 1, only Conv2d_1a_7x7 to Conv2d_2c_3x3: the detector is refused, the layers are found.
    checkpoint = open_tf_checkpoint(tensorflow / "root_full_width.ckpt")
    root = nn.Sequential(OrderedDict(list(InceptionV2Features(stored_statistics=True).named_children())[:5]))
    places = list(map_stage(root, scope="FirstStageFeatureExtractor/InceptionV2"))
    assert {place.variable: place.shape for place in places} == {
        name: variable.shape for name, variable in checkpoint.variables.items()
    }
    with pytest.raises(CheckpointError, match="missing"):
        load_tf_checkpoint(build_inception_v2(num_classes=4, pretrained=True), checkpoint.index)
