"""Boxes are clipped or refused, never lost unasked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothiou.data.faults import fit_box, refuse_dropped
from smoothiou.data.records import Box, Fault
from smoothiou.errors import DataError

W, H = 100, 80


def fit(*xyxy: float):
    return fit_box(Box(xyxy=xyxy, label="a", where="here"), width=W, height=H)  # type: ignore[arg-type]


def test_a_box_inside_its_image_is_left_alone():
    box, fault = fit(0, 0, 100, 80)
    assert box is not None
    assert (box.xyxy, fault) == ((0, 0, 100, 80), None)


@pytest.mark.parametrize(
    ("corners", "kind"),
    [
        ((10, 10, 10, 20), "no-area"),
        ((10, 20, 30, 20), "no-area"),
        ((30, 10, 10, 20), "no-area"),
        ((10, 10, 10.001, 20), "no-area"),
        ((float("nan"), 10, 20, 20), "no-area"),
        ((10, 10, float("inf"), 20), "no-area"),
        ((100, 10, 120, 20), "outside"),
        ((-20, 10, 0, 20), "outside"),
        ((10, 80, 20, 90), "outside"),
        ((10, -9, 20, 0.001), "outside"),
    ],
)
def test_what_nothing_is_left_of_is_dropped_with_a_reason(corners, kind):
    box, fault = fit(*corners)
    assert box is None
    assert fault is not None
    assert (fault.kind, fault.drops, fault.where) == (kind, True, "here")


def test_an_overhang_is_clipped_and_says_by_how_much():
    box, fault = fit(-2.5, 10, 101, 80.005)
    assert box is not None
    assert fault is not None
    assert box.xyxy == (0, 10, 100, 80)
    assert (fault.kind, fault.drops) == ("overhang", False)
    assert "by 2.5 pixels" in fault.message


@pytest.mark.parametrize(
    ("corners", "kept"),
    [
        ((80, 10, 120, 30), (80, 10, 100, 30)),  # Half of it is inside.
        ((80, 10, 121, 30), None),
        ((-50, -10, 20, 20), None),
        ((-1e200, 10, 1e200, 20), None),
    ],
)
def test_a_box_of_which_most_lies_outside_is_no_overhang(corners, kept):
    box, fault = fit(*corners)
    assert fault is not None
    assert (box.xyxy if box else None) == kept
    assert fault.kind == ("overhang" if kept else "outside")
    if not kept:
        assert "lies more than half outside its image of 100 x 80 pixels" in fault.message


def test_rounding_of_decimals_is_no_overhang():
    box, fault = fit(0, 0, 100.005, 80)
    assert box is not None
    assert (box.xyxy, fault) == ((0, 0, 100, 80), None)


@given(st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 4))
def test_whatever_comes_in_what_comes_out_lies_inside_and_has_area(corners):
    box, fault = fit(*corners)
    assert (box is None) == (fault is not None and fault.drops)
    if box:
        x1, y1, x2, y2 = box.xyxy
        assert 0 <= x1 < x2 <= W
        assert 0 <= y1 < y2 <= H


def lost(count: int) -> list[Fault]:
    return [Fault(kind="no-area", where=f"{n}.xml: object 1", message="has no area", drops=True) for n in range(count)]


def test_one_lost_box_stops_with_its_place_and_the_way_out():
    with pytest.raises(DataError) as caught:
        refuse_dropped(lost(1), allow_dropped=0, data="cells")
    assert str(caught.value) == (
        "cells: 1 box without area or outside the image: 0.xml: object 1 has no area. "
        "Fix the file, or pass --allow-dropped 1 to train without it."
    )
    assert caught.value.exit_code == 3


def test_many_lost_boxes_are_counted_and_three_are_named():
    with pytest.raises(DataError, match=r"5 boxes .*0\.xml.*1\.xml.*2\.xml.*--allow-dropped 5"):
        refuse_dropped(lost(5), allow_dropped=4, data="cells")
    refuse_dropped(lost(5), allow_dropped=5, data="cells")


def test_only_boxes_count_against_what_is_allowed():
    others = [
        Fault(kind="missing-annotation", where="a", message="", drops=True),
        Fault(kind="overhang", where="b", message=""),
    ]
    with pytest.raises(DataError, match="1 box"):
        refuse_dropped([*others, *lost(1)], allow_dropped=0, data="cells")
    refuse_dropped([*others, *lost(1)], allow_dropped=1, data="cells")
