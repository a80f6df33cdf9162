"""All box geometry: corners, deltas, and pairs of boxes. The one room in which box formulas stand.

K is the number of pairs. A box is `xyxy` = (x1, y1, x2, y2) unless a name says otherwise. *Deltas* are the
codes that a detector predicts: (dx, dy, dw, dh) of a box relative to an anchor, times four weights.

Everything is computed in float32, also when half precision comes in; float64 stays float64. Nothing here
waits for the device, and no formula divides by zero.
"""

from smoothiou.boxes.by_hand import OfBoxes, OfDeltas, on_boxes, on_deltas, steepest, transformed
from smoothiou.boxes.deltas import (
    CODE_WEIGHTS,
    SIZE_CLAMP,
    Weights,
    decode_deltas,
    decode_unit,
    encode_boxes,
)
from smoothiou.boxes.formats import BOX_FORMATS, area, in_float, in_one_type, to_xyxy
from smoothiou.boxes.iou import aligned_iou, deltas_iou
from smoothiou.boxes.pairs import SMALLEST_SPAN, Measure, Pairs, Slopes, formula

__all__ = [
    "BOX_FORMATS",
    "CODE_WEIGHTS",
    "SIZE_CLAMP",
    "SMALLEST_SPAN",
    "Measure",
    "OfBoxes",
    "OfDeltas",
    "Pairs",
    "Slopes",
    "Weights",
    "aligned_iou",
    "area",
    "decode_deltas",
    "decode_unit",
    "deltas_iou",
    "encode_boxes",
    "formula",
    "in_float",
    "in_one_type",
    "on_boxes",
    "on_deltas",
    "steepest",
    "to_xyxy",
    "transformed",
]
