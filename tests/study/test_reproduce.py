"""The paper's studies: its numbers, the recipes beside them, and where the data is looked for."""

from __future__ import annotations

import pytest

from smoothiou.engine.config import build_config
from smoothiou.errors import ConfigError, DataError
from smoothiou.report.paper_tables import table_2
from smoothiou.study.paper import LOSSES, TABLE_1, TABLE_2, TABLE_3, TITLES
from smoothiou.study.reproduce import SETS, choose_sets, count_wins, deviations, find_data, recipe_of, settings_of


def test_the_tables_hold_what_the_paper_printed():
    assert TABLE_2["pets"] == (0.143, 0.162)
    assert TABLE_2["voc2012"] == (0.275, 0.270)
    assert list(TABLE_2) == list(TABLE_3) == list(TABLE_1) == list(TITLES) == list(SETS)


def test_wins_are_those_of_the_papers_first_row():
    # Table 3: Huber wins 0 3 2 2 1 columns, Smooth IoU 6 3 4 4 5; Table 2: five of six.
    assert count_wins(list(TABLE_2.values())) == (1, 5)
    columns = zip(*(TABLE_3[name].values() for name in TABLE_3), strict=True)
    assert [count_wins(list(column)) for column in columns] == [(0, 6), (3, 3), (2, 4), (2, 4), (1, 5)]
    assert count_wins([(1.0, None), (2.0, 2.0), (1.0, 2.0)]) == (0, 1)


@pytest.mark.parametrize("name", list(SETS))
def test_both_recipes_of_a_set_have_table_1s_values_and_differ_in_the_loss_alone(name):
    huber, smooth = (build_config(recipe_of(name, loss), {}) for loss in LOSSES)
    for config in (huber, smooth):
        assert (config.optim.lr, config.model.proposals) == (TABLE_1[name].lr, TABLE_1[name].proposals)
        assert (config.train.steps, config.train.batch_size, config.optim.step_every) == (200_000, 1, 50_000)
    assert huber.replace({"loss.name": smooth.loss.name}) == smooth
    assert smooth.loss.name == "smooth-iou"


def test_sets_are_chosen_by_name():
    assert choose_sets("") == tuple(SETS)
    assert choose_sets("voc2007, pets") == ("voc2007", "pets")
    with pytest.raises(ConfigError, match="voc2007"):
        choose_sets("voc2008")
    with pytest.raises(ConfigError, match="twice"):
        choose_sets("pets,pets")


def test_data_is_found_where_it_holds_images_and_parts_are_joined(tmp_path):
    with pytest.raises(DataError, match=r"VOC2007.* --data-root"):
        find_data("voc++", tmp_path)
    for folder in ("VOCdevkit/VOC2007", "voc2012"):
        (tmp_path / folder / "JPEGImages").mkdir(parents=True)
        (tmp_path / folder / "JPEGImages" / "1.jpg").touch()
    assert find_data("voc++", tmp_path) == f"{tmp_path / 'VOCdevkit/VOC2007'}+{tmp_path / 'voc2012'}"


def test_what_is_not_as_in_the_paper_is_said():
    config = settings_of("vwfs", "somewhere/car_damage", scale="tiny", changes={"train.steps": 3})
    said = deviations("vwfs", config, {"train": None, "val": None, "test": None})
    assert any(line.startswith("car_damage stands in for VWFS") for line in said)
    assert "train.steps is 3, and 200000 in the paper's recipe." in said
    assert "model.name is nano, and inception-v2 in the paper's recipe." in said


def test_a_gain_of_nothing_has_no_sign_of_its_own():
    ours = {"pets": {"mean_iou": {"huber": 0.41236, "smooth-iou": 0.41216}}}
    assert [cell.text for cell in table_2(ours).rows[0].cells][-1] == "+0.000"


def test_what_looks_equal_in_the_table_is_no_win():
    ours = {"pets": {"mean_iou": {"huber": 0.41216, "smooth-iou": 0.41236}}}
    assert [cell.text for cell in table_2(ours).rows[-1].cells][:4] == ["0", "1", "0", "0"]
