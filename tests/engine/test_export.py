"""An exported detector finds the same boxes: of other sizes, without any, and in another runtime."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from smoothiou.detectors import build_detector, set_box_loss
from smoothiou.detectors.exportable import exportable
from smoothiou.engine.export import Parity, compare_exported, export_run, open_exported, with_odd_images
from smoothiou.engine.predictor import load_run
from smoothiou.errors import ConfigError, SmoothIoUError
from tests.engine.test_predict import run  # noqa: F401, a fixture

installed = pytest.mark.skipif(
    not (find_spec("onnx") and find_spec("onnxruntime")), reason="the extra `export` is not installed"
)
FORMS = [pytest.param("onnx", marks=installed), "torchscript"]


def pictures(*sizes: tuple[int, int]) -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in sizes]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("to", FORMS)
@pytest.mark.slow
def test_the_same_boxes_on_images_of_other_sizes_and_on_one_without(run, tmp_path, to):  # noqa: F811
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
def test_the_file_holds_names_preprocessing_and_opset(run, tmp_path):  # noqa: F811
    import onnx

    export_run(load_run(run), tmp_path / "a.onnx", to="onnx")
    model = onnx.load(str(tmp_path / "a.onnx"))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["names"])["2"] == "dog"
    assert metadata["opset"] == str(next(each.version for each in model.opset_import if each.domain == ""))
    assert "RGB" in metadata["input"]


def test_another_form_is_refused(run, tmp_path):  # noqa: F811
    with pytest.raises(ConfigError, match="onnx or torchscript"):
        export_run(load_run(run), tmp_path / "a", to="coreml")


@pytest.mark.parametrize("name", ["nano", "lite0", "lite0-cascade", "mobilenet-v3-fpn"])
def test_the_copy_gives_the_detector_s_own_boxes_and_the_detector_stays(name):
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


def test_what_does_not_export_is_named(run, tmp_path):  # noqa: F811
    predictor = load_run(run)

    class Odd(torch.nn.Module):
        def forward(self, x):
            raise RuntimeError("no symbolic for odd")

    predictor.opened.model.backbone = Odd()
    with pytest.raises(SmoothIoUError, match="nano cannot be exported"):
        export_run(predictor, tmp_path / "a.pt", to="torchscript")
