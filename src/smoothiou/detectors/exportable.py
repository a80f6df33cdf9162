"""A detector in a form that exports: torchvision's own operations in the place of our faster ones."""

from __future__ import annotations

import copy
import functools
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from smoothiou.detectors.anchors import BorderAnchors
from smoothiou.detectors.box_loss import box_losses, set_box_loss
from smoothiou.detectors.clip_after_nms import (
    DetectionsClippedAfterNMS,
    ProposalsClippedAfterNMS,
    RoIHeadsClippedAfterNMS,
    RPNClippedAfterNMS,
)
from smoothiou.detectors.crop_and_resize import CropAndResize, CropAndResizeByRoIAlign
from smoothiou.detectors.dropout import DropoutPredictor
from smoothiou.detectors.exact_resize import ExactResize
from smoothiou.detectors.frozen_body import FrozenBody
from smoothiou.detectors.mixin import unmix
from smoothiou.detectors.nano import CropHead
from smoothiou.detectors.precision import widen_output
from smoothiou.detectors.pyramid_roi_align import PyramidRoIAlign
from smoothiou.detectors.roi_align import SparseRoIAlign

PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    CropHead: TwoMLPHead,
    BorderAnchors: AnchorGenerator,
    DropoutPredictor: FastRCNNPredictor,
    CropAndResize: CropAndResizeByRoIAlign,
}
"""Parts that differ from these in speed or in training alone."""


def exportable(model: nn.Module) -> nn.Module:
    """Return a copy of a detector in eval mode, with the same weights, made of what ONNX and TorchScript know.

    The host's own stages replace those with a box loss, which inference does not use; torchvision's RoIAlign replaces
    ours and TensorFlow's crops, whose values differ in the last bits of float32.

    Args:
        model: a detector of `build_detector`; it is left alone.
    """
    model = copy.deepcopy(model).eval().float().cpu()
    transform: Any = model.transform
    if type(transform) is GeneralizedRCNNTransform and transform.fixed_size is None:
        transform.__class__ = ExactResize
    if box_losses(model):
        set_box_loss(model, None)
    _restore_methods(model.rpn, model.roi_heads)
    modules: list[Any] = list(model.modules())
    for module in modules:
        if isinstance(module, FrozenBody):
            module.feature_cache = None
        unmix(module)
    for module in modules:
        if type(module) in PLAIN:
            module.__class__ = PLAIN[type(module)]
        for key in [key for key, hook in module._forward_hooks.items() if hook is widen_output]:
            del module._forward_hooks[key]  # of use under autocast only
        for name, child in module.named_children():
            if isinstance(child, SparseRoIAlign | PyramidRoIAlign):
                setattr(module, name, _plain(child))
    return model.requires_grad_(False)


class OneImage(nn.Module):
    """A detector of one image: what is traced for ONNX.

    Args:
        detector: of lists of images.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (N, 4), scores (N,) and labels (N,) of an image (3, H, W) in [0, 1]."""
        detections = self.detector([image])[0]
        return detections["boxes"], detections["scores"], detections["labels"]


class OneImageScript(OneImage):
    """The same around a detector in TorchScript, which returns losses beside detections."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (N, 4), scores (N,) and labels (N,) of an image (3, H, W) in [0, 1]."""
        _, detections = self.detector([image])
        return detections[0]["boxes"], detections[0]["scores"], detections[0]["labels"]


def _restore_methods(rpn: Any, heads: Any) -> None:
    """Remove what replaces methods of the two stages; what inference needs of it comes back as a method of a class."""
    for name in ("assign_targets_to_anchors", "match_cache"):
        vars(rpn).pop(name, None)
    vars(heads).pop("add_gt_proposals", None)
    if isinstance(vars(rpn).get("filter_proposals"), ProposalsClippedAfterNMS):
        del rpn.filter_proposals
        rpn.__class__ = _with(RPNClippedAfterNMS, type(rpn))
    if isinstance(vars(heads).get("postprocess_detections"), DetectionsClippedAfterNMS):
        del heads.postprocess_detections
        heads.__class__ = _with(RoIHeadsClippedAfterNMS, type(heads))


@functools.cache
def _with(methods: type[nn.Module], kind: type[nn.Module]) -> type[nn.Module]:
    return type(methods.__name__, (methods, kind), {})


def _plain(pool: SparseRoIAlign | PyramidRoIAlign) -> MultiScaleRoIAlign:
    plain = MultiScaleRoIAlign(
        featmap_names=pool.featmap_names,
        output_size=pool.output_size,
        sampling_ratio=pool.sampling_ratio,
        canonical_scale=pool.canonical_scale,
        canonical_level=pool.canonical_level,
    )
    if isinstance(pool, SparseRoIAlign):
        # torchvision would guess the stride from its first image: 8, and not 16, where 33 pixels have 3 cells.
        plain.scales, plain.map_levels = [1 / pool.stride], initLevelMapper(0, 0)
    return plain
