"""Fine-tuning: each part and each class of another training lands where it belongs, or is said to be random."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.models.detection import FasterRCNN_MobileNet_V3_Large_FPN_Weights as Coco
from torchvision.ops import FrozenBatchNorm2d

from smoothiou.detectors import build_detector
from smoothiou.detectors import pretrained as weights
from smoothiou.detectors.take_over import take_over
from smoothiou.detectors.vgg16 import build_vgg16
from smoothiou.errors import CheckpointError

LAST = "roi_heads.box_predictor."


def detector(classes, seed, *, name="nano", **more):
    torch.manual_seed(seed)
    return build_detector(name, num_classes=len(classes), classes=classes, **more)


@pytest.fixture(scope="module")
def trained():
    """A detector of two classes whose weights differ from those of a new one."""
    return detector(("cat", "dog"), 1).state_dict()


def saved(folder, state, **more):
    path = folder / "last.ckpt"
    torch.save({"format": 1, "model": state, **more}, path)
    return path


def rows(state, index):
    """The scores and the four deltas of one class; 0 is the background."""
    boxes = slice(4 * index, 4 * index + 4)
    return torch.cat([
        state[f"{LAST}cls_score.weight"][index], state[f"{LAST}cls_score.bias"][[index]],
        state[f"{LAST}bbox_pred.weight"][boxes].flatten(), state[f"{LAST}bbox_pred.bias"][boxes],
    ])  # fmt: skip


def test_classes_in_another_order_are_permuted_by_name_and_it_is_said(trained, tmp_path):
    saved(tmp_path, trained, classes=["cat", "dog"])
    model = detector(("dog", "cat"), 2, weights=tmp_path)  # a run folder
    state = model.state_dict()
    for ours, theirs in ((0, 0), (1, 2), (2, 1)):
        assert torch.equal(rows(state, ours), rows(trained, theirs))
    assert all(torch.equal(value, trained[key]) for key, value in state.items() if not key.startswith(LAST))
    assert any("2 of 2 classes" in note and "another order" in note for note in model.notes)


def test_a_class_that_both_have_is_taken_over_and_others_start_random(trained, tmp_path):
    path = saved(tmp_path, trained, classes=["cat", "dog"])
    names = ("ape", "bee", "dog")
    model, new = detector(names, 2, weights=path), detector(names, 2).state_dict()
    state = model.state_dict()
    assert torch.equal(rows(state, 3), rows(trained, 2))
    assert torch.equal(rows(state, 0), rows(trained, 0))
    for index in (1, 2):
        assert torch.equal(rows(state, index), rows(new, index))
    assert any("1 of 3 classes taken over: dog; random: ape, bee" in note for note in model.notes)


def test_each_stage_of_a_cascade_gets_the_scores_by_name_and_the_deltas_that_all_classes_share(tmp_path):
    trained = detector(("cat", "dog"), 1, cascade=2).state_dict()
    path = saved(tmp_path, trained, classes=["cat", "dog"])
    model, new = (detector(("ape", "dog", "bee"), 2, cascade=2, weights=weights) for weights in (path, None))
    state, random = model.state_dict(), new.state_dict()
    for stage in ("roi_heads.stages.0.box_predictor.", "roi_heads.stages.1.box_predictor."):
        scores = f"{stage}cls_score.weight"
        assert torch.equal(state[scores][[0, 2]], trained[scores][[0, 2]])  # background, dog
        assert torch.equal(state[scores][[1, 3]], random[scores][[1, 3]])
        assert torch.equal(state[f"{stage}bbox_pred.weight"], trained[f"{stage}bbox_pred.weight"])
    assert any("1 of 3 classes" in note for note in model.notes)
    permuted = detector(("dog", "cat"), 2, cascade=2, weights=path).state_dict()
    assert all(
        torch.equal(value, trained[key][[0, 2, 1]] if "cls_score" in key else trained[key])
        for key, value in permuted.items()
    )


def test_a_single_second_stage_leaves_those_of_a_cascade_random_and_it_is_said(trained, tmp_path):
    model = detector(("cat", "dog"), 2, cascade=2, weights=saved(tmp_path, trained, classes=["cat", "dog"]))
    assert any("random: box head" in note for note in model.notes)


def test_without_a_common_class_the_rest_is_taken_over_and_it_is_said(trained, tmp_path):
    model = detector(("ape",), 2, weights=saved(tmp_path, trained, classes=["cat", "dog"]))
    assert torch.equal(model.state_dict()["backbone.0.weight"], trained["backbone.0.weight"])
    assert torch.equal(rows(model.state_dict(), 1), rows(detector(("ape",), 2).state_dict(), 1))
    assert any("0 of 1 classes" in note and "cat, dog" in note for note in model.notes)


def test_a_file_without_names_of_classes_never_passes_for_one_with_them(trained, tmp_path):
    torch.save(trained, tmp_path / "bare.pth")
    same = detector(("dog", "cat"), 2, weights=tmp_path / "bare.pth")
    assert torch.equal(rows(same.state_dict(), 1), rows(trained, 1))
    assert any("does not name its classes: taken to be dog, cat" in note for note in same.notes)
    other = detector(("dog",), 2, weights=tmp_path / "bare.pth")
    assert torch.equal(rows(other.state_dict(), 1), rows(detector(("dog",), 2).state_dict(), 1))
    assert any("2 classes" in note and "random" in note for note in other.notes)


@pytest.mark.parametrize("way", ["classifier", "bare body", "wrapped"])
def test_a_backbone_alone_fills_the_backbone_and_keeps_its_norms(tmp_path, way):
    torch.manual_seed(3)
    state = resnet18(weights=None).state_dict()
    file = {
        "classifier": state,
        "bare body": {f"backbone.body.{key}": value for key, value in state.items() if not key.startswith("fc.")},
        "wrapped": {"state_dict": {f"module.{key}": value for key, value in state.items()}},
    }[way]
    torch.save(file, tmp_path / "resnet18.pth")
    model = detector(("cat",), 4, name="resnet18-fpn", weights=tmp_path / "resnet18.pth")
    body = model.backbone.body.state_dict()
    assert len(body) > 50
    assert all(torch.equal(value, state[key]) for key, value in body.items())
    assert any(isinstance(module, FrozenBatchNorm2d) for module in model.modules())
    assert "backbone taken over; random: pyramid, RPN, box head, last layers" in model.notes[0]


def test_vgg16_of_torchvision_fills_the_hidden_layers_of_the_second_stage_too():
    models = [build_vgg16(num_classes=3, pretrained=True, width=1 / 16, hidden=16) for _ in range(2)]
    state = models[0].state_dict()
    names = models[0].backbone.imagenet_names
    pairs = [(ours, theirs, kind) for ours, theirs in names.items() for kind in ("weight", "bias")]
    file = {f"{theirs}.{kind}": state[f"{ours}.{kind}"] for ours, theirs, kind in pairs}
    notes = take_over(models[1], weights.Weights(state=file, source="vgg16.pth"), classes=("cat", "dog"))
    assert all(torch.equal(models[1].state_dict()[f"{ours}.bias"], state[f"{ours}.bias"]) for ours in names)
    assert "backbone, box head taken over; random: RPN." in notes[0]
    assert "last layers" in notes[1]


def test_a_checkpoint_of_torchvision_in_the_names_of_2019_with_its_own_classes(tmp_path, monkeypatch):
    new = build_detector("mobilenet-v3-fpn", num_classes=90, weights=None).state_dict()
    # What torchvision's own loading renames: neither the RPN's nor the pyramid's layers had a block around them.
    state = {key.replace("conv.0.0.", "conv."): value for key, value in new.items() if "num_batches" not in key}
    state = {key.replace("0.0.weight", "0.weight") if ".fpn." in key else key: v for key, v in state.items()}
    torch.save(state, tmp_path / "coco.pth")
    monkeypatch.setattr(weights, "file_digest", lambda path: Coco.COCO_V1.url.partition("-")[2][:8] + "0000")
    model = detector(("dog", "ant"), 5, name="mobilenet-v3-fpn", weights=tmp_path / "coco.pth")
    assert "backbone, pyramid, RPN, box head taken over." in model.notes[0]
    assert "1 of 2 classes taken over: dog" in model.notes[1]
    assert torch.equal(rows(model.state_dict(), 1), rows(new, Coco.COCO_V1.meta["categories"].index("dog")))


@pytest.mark.parametrize(
    "state",
    [nn.Linear(2, 3).state_dict(), resnet18(weights=None).state_dict()],
    ids=["a single layer", "a classifier of another net"],
)
def test_a_file_whose_backbone_does_not_fit_is_refused_and_nothing_is_loaded(tmp_path, state):
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="other.pth.*backbone") as error:
        detector(("cat",), 4, weights=tmp_path / "other.pth")
    assert "--model" in error.value.hint


def test_another_size_of_the_same_family_is_refused_though_some_layers_fit(tmp_path):
    # The stem and some 3x3 layers of ResNet-18 have the names and shapes of ResNet-50's.
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(CheckpointError, match="another backbone"):
        detector(("cat",), 4, name="resnet50-fpn", weights=tmp_path / "resnet18.pth")


def test_a_folder_that_is_no_run_is_named_with_the_file_that_it_should_hold(tmp_path):
    with pytest.raises(CheckpointError, match="last.ckpt: no such") as error:
        detector(("cat",), 4, weights=tmp_path)
    assert "run" in error.value.hint
