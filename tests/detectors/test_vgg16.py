"""VGG-16 as the extractor of the original Faster R-CNN: its layers, its settings, and torchvision's weights in it."""

from __future__ import annotations

import copy

import pytest
import torch
from torchvision.models import VGG16_Weights
from torchvision.models.vgg import vgg16 as torchvision_vgg16

from smoothiou.detectors import build_detector, detect, set_box_loss, torchvision_smooth_l1, vgg16
from smoothiou.detectors import pretrained as weights
from smoothiou.detectors.dropout import DropoutPredictor
from smoothiou.detectors.vgg16 import RoIPool, VGG16Features, VGG16Head, build_vgg16
from tests.detectors.inception import batch

EDGES = ("conv1_1", "conv1_2", "conv2_1", "conv2_2")


def tiny(**options):
    """Two classes, all layers, each narrow."""
    torch.manual_seed(0)
    settings = {
        "num_classes": 3,
        "pretrained": False,
        "border": "remove",
        "width": 0.03,
        "hidden": 32,
        "min_size": 160,
        "max_size": 200,
    }
    return build_vgg16(**{**settings, **options})


@pytest.fixture
def narrow(monkeypatch):
    """`build_detector` with a narrow net."""

    def small(**settings):
        return build_vgg16(**settings, width=0.03, hidden=32)

    monkeypatch.setattr(vgg16, "build_vgg16", small)


def test_the_layers_are_those_of_configuration_d():
    features = VGG16Features(frozen=True)
    convolutions = [layer for layer in features if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert sum(p.numel() for p in features.parameters()) == 14_714_688
    assert next(reversed(features._modules)) == "relu5_3", "the last pool belongs to the classifier"


@pytest.mark.parametrize("side", [16, 31, 64, 160])
def test_the_map_has_a_sixteenth_of_the_image(side):
    features = VGG16Features(frozen=False, width=0.03)
    assert features(torch.zeros(2, 3, side, 2 * side)).shape == (2, features.out_channels, side // 16, side // 8)


def test_the_originals_settings_are_the_defaults():
    model = tiny()
    assert (model.rpn.fg_bg_sampler.batch_size_per_image, model.rpn.fg_bg_sampler.positive_fraction) == (256, 0.5)
    heads = model.roi_heads
    assert (heads.fg_bg_sampler.batch_size_per_image, heads.fg_bg_sampler.positive_fraction) == (128, 0.25)
    assert (model.rpn.nms_thresh, model.rpn.head.cls_logits.out_channels) == (0.7, 9)
    for training, before, after in ((True, 12000, 2000), (False, 6000, 300)):
        model.rpn.train(training)
        assert (model.rpn.pre_nms_top_n(), model.rpn.post_nms_top_n()) == (before, after)
    (anchors,) = model.rpn.anchor_generator.cell_anchors
    areas = (anchors[:, 2:] - anchors[:, :2]).prod(dim=1).view(3, 3)  # by aspect ratio, size
    torch.testing.assert_close(areas, torch.tensor([[128.0**2, 256**2, 512**2]] * 3), rtol=0.01, atol=0)
    assert isinstance(heads.box_roi_pool, RoIPool)
    assert (heads.box_head.dropout, model.transform.size_divisible) == (0.5, 16)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_step_leaves_the_first_two_blocks_alone_where_weights_were_loaded(frozen):
    model = set_box_loss(tiny(pretrained=frozen, border="keep"), "smooth-iou").train()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = model(*batch())
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert losses["loss_rpn_box_reg"] > 0
    assert losses["loss_box_reg"] > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    optimizer.step()
    after = model.state_dict()
    still = {key.removeprefix("backbone.").rpartition(".")[0] for key in after if torch.equal(before[key], after[key])}
    assert still == (set(EDGES) if frozen else set())


def test_our_own_loss_and_torchvisions_are_the_same_step_to_the_last_bit():
    stock = tiny().train()
    ours = set_box_loss(copy.deepcopy(stock), torchvision_smooth_l1)
    found = []
    for model in (ours, stock):
        torch.manual_seed(3)
        losses = model(*batch())
        sum(losses.values()).backward()
        found.append((losses, {name: p.grad for name, p in model.named_parameters()}))
    for mine, theirs in zip(*found, strict=True):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    with torch.no_grad():
        images, _ = batch()
        for mine, theirs in zip(set_box_loss(ours, "giou").eval()(images), stock.eval()(images), strict=True):
            assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_anchors_that_leave_the_image_learn_nothing_and_still_propose():
    model = set_box_loss(tiny(min_size=320, max_size=400, border="remove"), "huber").train()
    labels = []
    inner = model.rpn.assign_targets_to_anchors
    model.rpn.assign_targets_to_anchors = lambda anchors, targets: labels.append(inner(anchors, targets)) or labels[-1]
    sum(model(*batch()).values()).backward()
    for own, fits in zip(labels[0][0], model.rpn.anchor_generator.usable, strict=True):
        assert 0 < fits.sum() < len(fits)
        assert (own[~fits] == -1).all()
    del model.rpn.assign_targets_to_anchors
    detect(model, batch()[0])
    assert all(own.all() for own in model.rpn.anchor_generator.usable)


@pytest.mark.parametrize("side", [32, 64])
def test_an_image_that_no_anchor_fits_gives_finite_losses_and_gradients(side):
    model = set_box_loss(tiny(border="remove", min_size=side, max_size=side), "smooth-iou").train()
    losses = model(*batch())
    assert not torch.cat(model.rpn.anchor_generator.usable).any()
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert losses["loss_rpn_box_reg"] == 0
    assert losses["loss_box_reg"] > 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    for found in detect(model, batch()[0]):
        assert found["boxes"].isfinite().all()


def test_roi_pool_is_the_maximum_of_bins_of_whole_cells():
    feature = torch.arange(14.0 * 14).view(1, 1, 14, 14)
    crops = RoIPool(stride=16)({"0": feature}, [torch.tensor([[0.0, 0, 13 * 16, 13 * 16]])], [(224, 224)])
    last = torch.arange(1, 14, 2)  # of each bin of two cells, the last holds the maximum
    assert torch.equal(crops[0, 0], feature[0, 0][last][:, last])
    with torch.autocast("cpu", torch.bfloat16):
        assert RoIPool(stride=16)({"0": feature.bfloat16()}, [torch.zeros(1, 4)], [(224, 224)]).dtype == torch.float32


def test_dropout_follows_each_hidden_layer_in_training_alone():
    head = VGG16Head(1, hidden=2000, dropout=0.5)
    with torch.no_grad():
        for layer in (head.fc6, head.fc7):
            layer.weight.zero_()
            layer.bias.fill_(1.0)
        crops = torch.ones(1, 1, 7, 7)
        assert (head.eval()(crops) == 1).all()
        out = head.train()(crops)
        assert set(out.unique().tolist()) == {0.0, 2.0}
        assert out.mean() == pytest.approx(1.0, abs=0.1)
        # Passed on by the second layer, a number must have survived both.
        head.fc7.weight.copy_(torch.eye(2000))
        head.fc7.bias.zero_()
        assert (head(crops) == 4).float().mean() == pytest.approx(0.25, abs=0.05)


def test_roi_dropout_sets_the_dropout_of_the_hidden_layers(narrow):
    assert build_detector("vgg16", num_classes=2).roi_heads.box_head.dropout == 0.5
    for dropout in (0.2, 0.0):
        heads = build_detector("vgg16", num_classes=2, roi_dropout=dropout).roi_heads
        assert heads.box_head.dropout == dropout
        assert not isinstance(heads.box_predictor, DropoutPredictor)


def stand_in(model):
    """Weights under torchvision's names, in the shapes of this model, each another number."""
    own = model.state_dict()
    return {
        f"{name}.{kind}": torch.full_like(own[f"{ours}.{kind}"], number + 0.5 * (kind == "bias"))
        for number, (ours, name) in enumerate(model.backbone.imagenet_names.items(), 1)
        for kind in ("weight", "bias")
    }


def test_imagenet_weights_fill_backbone_and_hidden_layers(narrow, monkeypatch, tmp_path):
    asked = []
    state = stand_in(tiny())
    monkeypatch.setattr(weights, "fetch", lambda enum: asked.append(enum) or state)
    model = build_detector("vgg16", num_classes=2, weights="imagenet")
    assert asked == [VGG16_Weights.IMAGENET1K_V1]
    assert (model.backbone.conv1_1.weight == 1).all()
    assert (model.backbone.conv5_3.bias == 13.5).all()
    assert (model.roi_heads.box_head.fc6.weight == 14).all()
    assert (model.roi_heads.box_head.fc7.bias == 15.5).all()
    assert model.notes == (
        "VGG16_Weights.IMAGENET1K_V1: backbone and the hidden layers of the second stage loaded; "
        "RPN and last layers are random.",
    )
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {f"backbone.{layer}.{kind}" for layer in EDGES for kind in ("weight", "bias")}
    assert model.rpn.anchor_generator.border == "remove"
    # A run that started from them goes on from its own checkpoint with the same layers frozen.
    torch.save({"model": model.state_dict()}, tmp_path / "best.ckpt")
    again = build_detector("vgg16", num_classes=2, weights=tmp_path / "best.ckpt")
    assert {name for name, p in again.named_parameters() if not p.requires_grad} == frozen
    assert again.rpn.anchor_generator.border == "remove"
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


def test_from_random_weights_everything_learns(narrow):
    model = build_detector("vgg16", num_classes=2)
    assert all(p.requires_grad for p in model.parameters())
    assert model.rpn.anchor_generator.border == "keep"


@pytest.mark.slow
def test_with_the_classifiers_weights_it_computes_what_the_classifier_does():
    # The names lead to the right layers: backbone, a 7x7 pool and head are the classifier up to its last layer.
    torch.manual_seed(0)
    theirs = torchvision_vgg16(weights=None, init_weights=False).eval()
    state = theirs.state_dict()
    features, head = VGG16Features(frozen=True), VGG16Head(512).eval()
    for ours, name in features.imagenet_names.items():
        module = features if ours.startswith("backbone") else head
        layer = module.get_submodule(ours.rpartition(".")[2])
        layer.load_state_dict({kind: state[f"{name}.{kind}"] for kind in ("weight", "bias")})
    with torch.no_grad():
        image = torch.randn(1, 3, 224, 224)
        pooled = torch.nn.functional.max_pool2d(features(image), 2)
        assert pooled.std() > 0
        assert torch.equal(head(pooled), theirs.classifier[:-1](theirs.features(image).flatten(1)))
