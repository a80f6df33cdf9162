"""After `set_box_loss` a model of torchvision scripts, traces and copies as stock does, and keeps its loss."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from smoothiou.detectors import set_box_loss
from smoothiou.detectors.box_loss import box_losses

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def stock():
    torch.manual_seed(0)
    model = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=3, min_size=64, max_size=96
    )
    return model.eval()


@pytest.mark.slow
def test_a_scripted_model_gives_what_scripted_stock_gives(stock):
    model = set_box_loss(copy.deepcopy(stock), "smooth-iou")
    images = [torch.rand(3, 60, 80)]
    script = torch.jit.script(model)
    ours, theirs = (scripted(images)[1][0] for scripted in (script, torch.jit.script(stock)))
    assert all((ours[key] == theirs[key]).all() for key in ("boxes", "scores", "labels"))
    assert set(box_losses(model)) == {"rpn", "roi"}  # scripting has taken nothing away
    model.train()
    target = {"boxes": torch.tensor([[5.0, 5, 40, 40]]), "labels": torch.tensor([1])}
    assert torch.isfinite(sum(model(images, [target]).values()))
    # The parameters are shared, as with stock: what is trained afterwards is seen.
    assert script.roi_heads.box_predictor.cls_score.weight.data_ptr() == (
        model.roi_heads.box_predictor.cls_score.weight.data_ptr()
    )


def test_the_host_s_own_classes_come_back(stock):
    model = set_box_loss(set_box_loss(copy.deepcopy(stock), "giou"), None)
    assert [type(module) for module in model.modules()] == [type(module) for module in stock.modules()]
    assert vars(model).keys() == vars(stock).keys()
    assert not model.transform._forward_hooks


def test_copies_and_files_of_a_model_are_whole(stock):
    model = set_box_loss(copy.deepcopy(stock), "giou")
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert set(box_losses(other)) == {"rpn", "roi"}
        plain = other.__prepare_scriptable__()  # its own, not that of the model it was copied from
        assert plain.rpn.head.cls_logits.weight is other.rpn.head.cls_logits.weight
        assert not box_losses(plain)
