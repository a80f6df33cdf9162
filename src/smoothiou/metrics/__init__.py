"""Numbers and their meaning: COCO's metrics, and how tightly boxes fit. No torch, no drawing."""

from smoothiou.metrics.bootstrap import (
    covariance_of_draws,
    draw_images,
    drawn_means,
    drawn_metrics,
    percentile_interval,
)
from smoothiou.metrics.coco import (
    ap_by_iou,
    engine,
    error_gains,
    evaluate_detections,
    evaluate_in_full,
    per_class_ap,
)
from smoothiou.metrics.localization import ImageLocalization, image_sums, localize_image, summarize
from smoothiou.metrics.overlap import box_iou
from smoothiou.metrics.refinement import jittered_probes, paired_probes, probe_numbers

__all__ = [
    "evaluate_detections",
    "evaluate_in_full",
    "ap_by_iou",
    "per_class_ap",
    "error_gains",
    "engine",
    "box_iou",
    "ImageLocalization",
    "localize_image",
    "image_sums",
    "summarize",
    "jittered_probes",
    "probe_numbers",
    "paired_probes",
    "covariance_of_draws",
    "draw_images",
    "drawn_metrics",
    "drawn_means",
    "percentile_interval",
]
