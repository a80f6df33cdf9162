"""Images whose short side vanishes at the detector's resolution are named before anything is computed."""

from __future__ import annotations

import pytest

from smoothiou.data.faults import is_too_long
from smoothiou.engine.config import RunConfig
from smoothiou.engine.train import run
from smoothiou.errors import DataError
from tests.data.doctor_sets import annotate, noise, voc
from tests.engine.test_moved import TINY


@pytest.mark.parametrize("size", [(1, 400), (400, 1), (3, 2000)])
@pytest.mark.parametrize("name", ["001", "007"])
def test_a_training_names_an_image_that_is_too_long(tmp_path, size, name):
    root = voc(tmp_path / "data")
    noise(root / "JPEGImages" / f"{name}.jpg", seed=1, size=size)
    annotate(root, name, [("cat", (1, 1, 1, 1))], size=size)
    with pytest.raises(DataError, match=rf"{name} \({size[0]} x {size[1]}\)"):
        run(RunConfig().replace({**TINY, "data.path": str(root)}), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "done").exists()


def test_the_limit_follows_from_the_resolution():
    # 320 / 400 of 3 pixels are 2.4; of 2 pixels, 1.6.
    assert [is_too_long(side, 400, max_size=320) for side in (3, 2)] == [False, True]
    assert not is_too_long(2, 400, max_size=400)
