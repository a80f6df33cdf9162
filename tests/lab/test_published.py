"""The published code's gradients: values it was seen to give, by hand, and against autograd."""

from __future__ import annotations

import pytest
import torch

from smoothiou.lab.published import PUBLISHED, diou_gradient, giou_gradient, iou_gradient, similarity


def box(*numbers: float) -> torch.Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def values(gradient: torch.Tensor) -> list[float]:
    return gradient[0].tolist()


def exact(function, pred, target) -> torch.Tensor:
    """Return the true derivative of a similarity of boxes (N, 4)."""
    leaf = pred.detach().requires_grad_()
    return torch.autograd.grad(function(leaf, target).sum(), leaf)[0]


def corners(boxes):
    x, y, w, h = boxes.unbind(1)
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def plain_iou(pred, target):
    a, b = corners(pred), corners(target)
    overlap = [(torch.minimum(a[k + 2], b[k + 2]) - torch.maximum(a[k], b[k])).clamp(min=0) for k in (0, 1)]
    intersection = overlap[0] * overlap[1]
    union = pred[:, 2:].prod(1) + target[:, 2:].prod(1) - intersection
    return intersection / union, union


def enclosing(pred, target):
    a, b = corners(pred), corners(target)
    return [torch.maximum(a[k + 2], b[k + 2]) - torch.minimum(a[k], b[k]) for k in (0, 1)]


def plain_giou(pred, target):
    iou, union = plain_iou(pred, target)
    width, height = enclosing(pred, target)
    return iou - 1 + union / (width * height)


def distance_term(pred, target):
    width, height = enclosing(pred, target)
    return -((pred[:, :2] - target[:, :2]).square().sum(1)) / (width.square() + height.square())


def random_pairs(count: int = 2000) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand((count, 6), generator=generator, dtype=torch.float64)
    centre, sides, target_sides = uniform.split(2, dim=1)
    pred = torch.cat((4 * centre - 2, sides * 2 + 0.2), dim=1)
    return pred, torch.cat((torch.zeros_like(centre), target_sides * 2 + 0.2), dim=1)


def test_values_that_the_code_was_seen_to_give():
    # Of a run of the MATLAB code in another language: x, y, w, h, rounded to three digits.
    target = box(0, 0, 1, 1)
    apart = box(-2, -1.5, 1, 1.2)
    assert values(giou_gradient(apart, target)) == pytest.approx([0.128, 0.217, 0.282, 0.296], abs=6e-4)
    assert values(exact(plain_giou, apart, target)) == pytest.approx([0.094, 0.108, 0.107, 0.074], abs=6e-4)
    beside = box(-2, 0.5, 1, 1.2)
    assert values(diou_gradient(beside, target)) == pytest.approx([0.639, -0.379, 0.146, 0.146], abs=6e-4)
    assert values(exact(distance_term, beside, target)) == pytest.approx([0.155, 0.015, 0.095, 0.051], abs=6e-4)


def test_giou_of_boxes_apart_by_hand():
    # Overlaps -1 and -1.5, so the code's intersection is +1.5 and its union 1 + 1 - 1.5; the hull is 3 x 3.5.
    pred, target = box(2, 2.5, 1, 1), box(0, 0, 1, 1)
    assert values(giou_gradient(pred, target) * 110.25) == pytest.approx([-17.5, -12, 35, 30])
    assert values(giou_gradient(pred, target, clamped=True) * 110.25) == pytest.approx([-7, -6, 14, 15])


def test_diou_that_encloses_its_target_by_hand():
    # The prediction reaches past both ends in x: hull 4 x 2, squared diagonal 20, squared distance 1/4.
    pred, target = box(0.5, 0, 4, 2), box(0, 0, 2, 2)
    term = diou_gradient(pred, target) - iou_gradient(pred, target)
    # Both ends stand out, so the (wrong) x derivative of the hull cancels; w: (-1 * 4 + 1 * 2) 2 d / D^2.
    assert values(term) == pytest.approx([-1 / 20, 0, -2 * 0.5 / 400, 0])
    assert exact(distance_term, pred, target)[0, 2].item() == pytest.approx(4 * 0.5 / 400)


def test_iou_is_exact_in_place_and_doubled_in_size():
    pred, target = random_pairs()
    true = exact(lambda a, b: plain_iou(a, b)[0], pred, target)
    assert torch.allclose(iou_gradient(pred, target)[:, :2], true[:, :2], atol=1e-12)
    assert torch.allclose(iou_gradient(pred, target)[:, 2:], 2 * true[:, 2:], atol=1e-12)
    assert torch.allclose(similarity(pred, target), plain_iou(pred, target)[0], atol=1e-12)


def test_clamping_corrects_giou_but_for_the_doubled_sizes():
    pred, target = random_pairs()
    true, code = exact(plain_giou, pred, target), giou_gradient(pred, target)
    corrected = giou_gradient(pred, target, clamped=True)
    assert torch.allclose(corrected[:, :2], true[:, :2], atol=1e-12)
    assert torch.allclose(corrected[:, 2:], 2 * true[:, 2:], atol=1e-12)
    apart = similarity(pred, target) == 0
    assert torch.equal(code[~apart], corrected[~apart])
    assert (code - corrected)[apart].abs().amax(1).gt(1e-3).float().mean() > 0.9


def test_ciou_adds_the_aspect_term_without_its_factor():
    pred, target = random_pairs()
    added = PUBLISHED["ciou"](pred, target) - diou_gradient(pred, target)
    assert not added[:, :2].any()

    def aspect(boxes, targets):
        angle = torch.atan(targets[:, 2] / targets[:, 3]) - torch.atan(boxes[:, 2] / boxes[:, 3])
        term = 4 / torch.pi**2 * angle.square()
        alpha = (term / (1 - similarity(boxes, targets) + term + 1e-7)).detach()
        return -alpha * term

    factor = pred[:, 2:].square().sum(1, keepdim=True)
    assert torch.allclose(added, exact(aspect, pred, target) * factor, atol=1e-12)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_gradient_is_finite_for_inverted_boxes(name):
    pred, target = random_pairs()
    pred[:, 2:] -= 0.6
    inverted = (pred[:, 2:] < 0).any(1)
    assert inverted.any()
    assert PUBLISHED[name](pred, target).isfinite().all()
    assert not iou_gradient(pred, target)[inverted].any()
