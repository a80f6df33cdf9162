"""An exported detector finds the same boxes: of other sizes, without any, and in another runtime."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from smoothiou.detectors import build_detector, inception_rcnn, set_box_loss, vgg16
from smoothiou.detectors.exportable import exportable
from smoothiou.detectors.tf_compat import train_as_tensorflow
from smoothiou.detectors.tf_resize import TensorFlowTransform, resized_sides
from smoothiou.engine.config import RunConfig
from smoothiou.engine.export import Parity, compare_exported, export_run, open_exported, with_odd_images
from smoothiou.engine.predictor import load_run
from smoothiou.engine.train import run as train_run
from smoothiou.errors import ConfigError, SmoothIoUError
from tests.detectors import inception, test_vgg16

installed = pytest.mark.skipif(
    not (find_spec("onnx") and find_spec("onnxruntime")), reason="the extra `export` is not installed"
)
FORMS = [pytest.param("onnx", marks=installed), "torchscript"]


def pictures(*sizes: tuple[int, int]) -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in sizes]


def test_boxes_that_are_no_numbers_do_not_agree(run):
    predictor, (picture,) = load_run(run, device="cpu"), pictures((90, 60))
    boxes, scores, names = predictor.predict(picture, score=0.1)
    labels = np.array([1 + predictor.classes.index(name) for name in names])
    assert len(boxes)
    assert compare_exported(predictor, lambda _: (boxes, scores, labels), [picture]).holds
    assert not compare_exported(predictor, lambda _: (np.full_like(boxes, np.nan), scores, labels), [picture]).holds


@pytest.mark.parametrize("wrong", [{"images": -1}, {"pixels": float("nan")}, {"score": -0.1}])
def test_limits_that_are_none_are_refused(run, tmp_path, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        load_run(run, device="cpu").export(tmp_path / "model.pt", to="torchscript", **wrong)
    assert not (tmp_path / "model.pt").exists()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_run_in_bf16_is_compared_in_float32(tmp_path):
    settings = {
        "data.path": "shapes",
        "data.images": 12,
        "data.size": 64,
        "model.min_size": 64,
        "model.max_size": 64,
        "train.steps": 2,
    }
    config = RunConfig().replace({**settings, "train.batch_size": 2, "train.device": "cpu", "train.precision": "bf16"})
    train_run(config, tmp_path / "RUN", quiet=True)
    assert load_run(tmp_path / "RUN").opened.placement.precision == "bf16"
    parity = load_run(tmp_path / "RUN").export(to="torchscript", images=6)["parity"]
    assert parity["holds"]
    assert parity["boxes"] > 0
    assert parity["pixels"] < 0.001


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("to", FORMS)
@pytest.mark.slow
def test_the_same_boxes_on_images_of_other_sizes_and_on_one_without(run, tmp_path, to):
    predictor = load_run(run, device="cpu")
    path = tmp_path / ("a.ONNX" if to == "onnx" else "model")  # whatever it is called
    metadata = export_run(predictor, path, to=to)
    assert json.loads(metadata["names"]) == {"1": "cat", "2": "dog"}
    exported, _ = open_exported(path)
    parity = compare_exported(
        predictor, exported, with_odd_images(pictures((90, 60), (64, 64), (200, 50), (49, 49), (111, 93)))
    )
    assert parity.holds, parity  # 50 * (64 / 200) is 16 pixels, and in float32 15.99
    assert parity.boxes > 0
    assert parity.sizes >= 4
    assert parity.pixels < 0.01

    # An export of other weights is no such thing.
    with torch.no_grad():
        predictor.opened.model.roi_heads.box_predictor.bbox_pred.bias += 0.5
    assert not compare_exported(predictor, exported, pictures((90, 60))).holds

    # With a head that takes everything for background, nothing is found, in any size.
    with torch.no_grad():
        predictor.opened.model.roi_heads.box_predictor.cls_score.bias[0] += 100
    export_run(predictor, path, to=to)
    exported, _ = open_exported(path)
    boxes, scores, labels = exported(np.zeros((3, 40, 70), dtype=np.float32))
    assert (boxes.shape, scores.shape, labels.shape) == ((0, 4), (0,), (0,))
    assert compare_exported(predictor, exported, pictures((90, 60))).empty == 1


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@installed
def test_the_file_holds_names_preprocessing_and_opset(run, tmp_path):
    import onnx

    export_run(load_run(run), tmp_path / "a.onnx", to="onnx")
    model = onnx.load(str(tmp_path / "a.onnx"))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["names"])["2"] == "dog"
    assert metadata["opset"] == str(next(each.version for each in model.opset_import if each.domain == ""))
    assert "RGB" in metadata["input"]


def test_another_form_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="onnx or torchscript"):
        export_run(load_run(run), tmp_path / "a", to="coreml")


def as_tensorflow(model):
    train_as_tensorflow(model)
    return model


def nano(**options):
    return build_detector("nano", num_classes=2, weights="none", min_size=64, max_size=96, **options)


SIZES = {"min_size": 64, "max_size": 96}
BUILDERS = {
    "inception-v2": functools.partial(inception.tiny, **SIZES),
    "vgg16": functools.partial(test_vgg16.tiny, **SIZES),
}
SLOW_BUILDERS = {
    "inception-v2 with RoIAlign": functools.partial(inception.tiny, roi_op="roi-align", border="keep", **SIZES),
    "inception-v2 with stored statistics": functools.partial(inception.tiny, pretrained=True, **SIZES),
    "inception-v2 as TensorFlow trains it": lambda: as_tensorflow(inception.tiny(border="keep", **SIZES)),
    "vgg16 with all anchors": functools.partial(test_vgg16.tiny, border="keep", **SIZES),
    "nano": nano,
    "nano as TensorFlow trains it": functools.partial(nano, tf_compat=True, roi_dropout=0.2),
    "nano-cascade": functools.partial(nano, cascade=3, tf_compat=True),
}


def with_clear_scores(model):
    """Draw weights by which scores differ, so that suppression does not depend on the last bit."""
    torch.manual_seed(0)
    predictors = [layer for name, layer in model.named_modules() if name.endswith("box_predictor") and layer]
    with torch.no_grad():
        for layer in (model.rpn.head.cls_logits, *(predictor.cls_score for predictor in predictors)):
            layer.weight.normal_(std=0.1)
        for layer in (model.rpn.head.bbox_pred, *(predictor.bbox_pred for predictor in predictors)):
            layer.weight.normal_(std=0.02)
    return model.eval()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("to", FORMS)
@pytest.mark.parametrize("name", [*BUILDERS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_BUILDERS)])
def test_every_kind_of_detector_finds_the_same_boxes_in_both_forms(run, tmp_path, name, to):
    model = with_clear_scores({**BUILDERS, **SLOW_BUILDERS}[name]())
    predictor = load_run(run, device="cpu")
    predictor.opened = dataclasses.replace(predictor.opened, model=model)
    path = tmp_path / ("a.onnx" if to == "onnx" else "a.pt")
    export_run(predictor, path, to=to)
    exported, _ = open_exported(path)
    # The first is so narrow that there are fewer proposals than usual, and a stride guessed from it is wrong.
    parity = compare_exported(predictor, exported, with_odd_images(pictures((200, 20), (90, 60), (111, 93))))
    assert parity.holds, parity
    assert parity.boxes > 10


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_tensorflow_s_sides_and_filter_in_torchscript():
    check_resize(torch.jit.script)


@pytest.mark.filterwarnings("ignore")
@installed
def test_tensorflow_s_sides_and_filter_in_onnx():
    import onnxruntime

    def exported(module):
        file = io.BytesIO()
        torch.onnx.export(
            module, (torch.rand(3, 50, 70),), file, opset_version=17, dynamo=False, input_names=["image"],
            dynamic_axes={"image": {1: "height", 2: "width"}},
        )  # fmt: skip
        session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
        return lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0])

    check_resize(exported)


def check_resize(exported):
    class Resize(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.transform = TensorFlowTransform(50, 90, [0.0] * 3, [1.0] * 3).eval()

        def forward(self, image):
            return self.transform.resize(image)[0]

    module = Resize()
    resize = exported(module)
    # 30 * (50 / 24) is 62.5 and is rounded to 62, in float32 it is more; 225 * (50 / 180) likewise.
    sizes = [(24, 30), (55, 44), (180, 225), (90, 50), (50, 90), (64, 115), (20, 200), (1, 300), (131, 77), (33, 97)]
    for height, width in sizes:
        image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
        found = resize(image)
        assert tuple(found.shape[1:]) == resized_sides(height, width, shortest=50, longest=90)
        torch.testing.assert_close(found, module(image), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["nano", "lite0", "lite0-cascade", "mobilenet-v3-fpn", "inception-v2", "vgg16"])
def test_the_copy_gives_the_detector_s_own_boxes_and_the_detector_stays(name, monkeypatch):
    narrow = functools.partial(inception_rcnn.build_inception_v2, depth_multiplier=0.01, rpn_channels=8)
    monkeypatch.setattr(inception_rcnn, "build_inception_v2", narrow)
    monkeypatch.setattr(vgg16, "build_vgg16", functools.partial(vgg16.build_vgg16, width=0.03, hidden=32))
    torch.manual_seed(0)
    model = build_detector(name, num_classes=2, weights="none", min_size=64, max_size=96).eval()
    kinds = [type(module) for module in model.modules()]
    images = [torch.rand(3, 70, 90), torch.rand(3, 50, 40)]
    with torch.no_grad():
        ours, theirs = model(images), exportable(model)(images)
    assert [type(module) for module in model.modules()] == kinds
    for one, other in zip(ours, theirs, strict=True):
        assert len(one["boxes"]) == len(other["boxes"])
        assert (one["scores"] - other["scores"]).abs().max() < 1e-4


def test_a_copy_without_a_box_loss_is_made_of_torchvision_s_own_classes():
    model = exportable(set_box_loss(build_detector("nano", num_classes=1, weights="none"), "giou"))
    assert {type(model.rpn).__module__, type(model.roi_heads).__module__} == {
        "torchvision.models.detection.rpn", "torchvision.models.detection.roi_heads",
    }  # fmt: skip


@pytest.mark.parametrize(("agree", "extra", "holds"), [(3, 0, True), (2, 0, False), (3, 1, False)])
def test_parity_holds_only_where_every_box_agrees(agree, extra, holds):
    parity = Parity(images=1, sizes=1, empty=0, boxes=3, agree=agree, extra=extra, pixels=0.0, score=0.0)
    assert parity.holds is holds


@pytest.mark.parametrize(
    "error", [RuntimeError("no symbolic"), TypeError("no __round__"), OSError("no source")], ids=str
)
@pytest.mark.parametrize("to", FORMS)
def test_what_does_not_export_is_named(run, tmp_path, to, error):
    predictor = load_run(run)

    class Odd(torch.nn.Module):
        def forward(self, x):
            raise error

    predictor.opened.model.backbone = Odd()
    with pytest.raises(SmoothIoUError, match=rf"nano .*{to}: backbone \(Odd\): {error}"):
        export_run(predictor, tmp_path / "a", to=to)


def test_a_part_that_torchscript_does_not_read_is_named(run, tmp_path):
    predictor = load_run(run)

    class Odd(torch.nn.Module):
        def forward(self, x):
            return x * len({*"abc"})

    predictor.opened.model.rpn.head.conv = Odd()
    with pytest.raises(SmoothIoUError, match=r"nano .*rpn\.head\.conv \(Odd\): \w"):
        export_run(predictor, tmp_path / "a.pt", to="torchscript")
