"""Results in a few lines."""

from __future__ import annotations

from smoothiou.report.summary_lines import result_lines

RESULT = {
    "metrics": {"AP": 0.5025, "AP50": 0.8173, "AP75": None, "AR1": 0.3, "AR10": 0.5},
    "localization": {"mean_iou": 0.4273, "mean_iou_matched": None, "refined_mean_iou": 0.8031},
    "signature": "AP|coco",
}


def test_numbers_are_percent_or_decimals_and_an_undefined_one_is_a_dash():
    assert result_lines(RESULT) == (
        "AP 50.2  AP50 81.7  AP75 -  AR1 30.0  AR10 50.0\n"
        "mean IoU of all boxes 0.427; of matched detections -; of refined boxes 0.803\n"
        "AP|coco"
    )


def test_weights_of_an_unfinished_run_are_called_so():
    assert result_lines({**RESULT, "step": 70, "steps": 150}).startswith(
        "Not finished: these are the weights of step 70 of 150.\n"
    )
    assert "Not finished" not in result_lines({**RESULT, "step": 150, "steps": 150})
