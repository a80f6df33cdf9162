"""Box geometry in plain PyTorch, every formula once.

K is the number of pairs. A box is `xyxy` = (x1, y1, x2, y2) unless a name says otherwise. *Deltas* are what a
detector predicts: (dx, dy, dw, dh) of a box relative to an anchor, times four weights.

Half precision is computed in float32; float64 stays float64. Nothing synchronises with the device.
"""

from smoothiou.boxes.deltas import (
    DELTA_WEIGHTS,
    SIZE_CLAMP,
    Weights,
    decode_deltas,
    decode_unit,
    delta_pair,
    delta_pair_in_pixels,
    deltas_iou,
    encode_boxes,
)
from smoothiou.boxes.formats import BOX_FORMATS, require_box_format, to_xyxy
from smoothiou.boxes.overlap import (
    Box,
    aligned_iou,
    box_pair,
    box_pair_in_pixels,
    enclosing,
    in_float,
    in_one_type,
    intersection_and_union,
    iou_of,
)
from smoothiou.boxes.pairwise import pairwise_iou

__all__ = [
    "BOX_FORMATS",
    "DELTA_WEIGHTS",
    "SIZE_CLAMP",
    "Box",
    "Weights",
    "aligned_iou",
    "box_pair",
    "box_pair_in_pixels",
    "decode_deltas",
    "decode_unit",
    "delta_pair",
    "delta_pair_in_pixels",
    "deltas_iou",
    "enclosing",
    "encode_boxes",
    "in_float",
    "in_one_type",
    "intersection_and_union",
    "iou_of",
    "pairwise_iou",
    "require_box_format",
    "to_xyxy",
]
