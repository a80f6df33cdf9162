"""What a plan holds, when two plans are the same study, and what growing one keeps."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothiou.engine.config import RunConfig
from smoothiou.engine.identity import LATER_DEFAULTS, NEUTRAL, cell_hash
from smoothiou.errors import ConfigError, DataError
from smoothiou.study import cell_folder, estimate, make_plan, read_plan, write_or_continue
from smoothiou.study.cells import lock_cell
from smoothiou.study.plan import cell_ids
from tests.study.conftest import DATA, facts


class TestContent:
    def test_every_loss_meets_every_seed_seed_by_seed(self, plan_of):
        plan = plan_of(("huber", "smooth-iou[lam=box]"), (3, 0))
        assert [cell["id"] for cell in plan["cells"]] == [
            "huber-seed3",
            "smooth-iou-lam-box-seed3",
            "huber-seed0",
            "smooth-iou-lam-box-seed0",
        ]
        assert plan["baseline"] == "huber"
        assert plan["cells"][1]["settings"]["loss.name"] == "smooth-iou[lam=box]"
        assert plan["cells"][1]["settings"]["train.seed"] == 3
        assert not {"loss.name", "train.seed"} & plan["settings"].keys()
        json.dumps(plan)

    def test_hashes_differ_between_cells_and_repeat_between_plans(self, plan_of):
        hashes = [cell["hash"] for cell in plan_of()["cells"]]
        assert len(set(hashes)) == 4
        assert hashes == [cell["hash"] for cell in plan_of()["cells"]]
        assert all(re.fullmatch("[0-9a-f]{12}", value) for value in hashes)

    @pytest.mark.parametrize("key", sorted(NEUTRAL))
    def test_settings_that_do_not_change_a_result_do_not_change_its_hash(self, plan_of, key: str):
        others = {
            "data.path": "elsewhere",
            "data.format": "voc",
            "data.follow_links": True,
            "train.device": "cpu",
            "train.log": "mine:log",
            "train.feature_folder": "elsewhere",
        }
        other = others.get(key, 3)
        changed = plan_of(**{key.replace(".", "__"): other})
        assert changed["settings"] != plan_of()["settings"]
        assert [c["hash"] for c in changed["cells"]] == [c["hash"] for c in plan_of()["cells"]]

    @pytest.mark.parametrize(
        "change",
        [{"train__steps": 5}, {"optim__lr": 0.1}, {"train__precision": "fp32"}, {"data__loose": 0.1}],
    )
    def test_settings_that_do_change_it(self, plan_of, change: dict):
        assert plan_of(**change)["cells"][0]["hash"] != plan_of()["cells"][0]["hash"]

    @pytest.mark.parametrize("word", ["", ".index", ".data-00000-of-00002", "folder"])
    def test_other_content_of_a_tensorflow_checkpoint_is_another_cell(self, plan_of, tmp_path: Path, word: str):
        files = [tmp_path / f"model.ckpt{end}" for end in (".index", ".data-00000-of-00002", ".data-00001-of-00002")]
        for file in files:
            file.write_text(file.name)
        (tmp_path / "model.ckpt.meta").write_text("a graph, which is not read")
        weights = f"tf:{tmp_path if word == 'folder' else f'{tmp_path}/model.ckpt{word}'}"

        def hash_now() -> str:
            return plan_of(model__name="inception-v2", model__weights=weights)["cells"][0]["hash"]

        before = hash_now()
        (tmp_path / "model.ckpt.meta").write_text("another")
        (tmp_path / "model.ckpt-9.index").write_text("another checkpoint") if word != "folder" else None
        assert hash_now() == before
        for file in files:
            content = file.read_text()
            file.write_text("other weights")
            assert hash_now() != before, file.name
            file.write_text(content)
        assert hash_now() == before

    def test_settings_that_came_later_are_unsaid_at_their_defaults_alone(self):
        defaults = RunConfig().flat()
        assert LATER_DEFAULTS.items() <= defaults.items()
        for key in LATER_DEFAULTS:
            assert cell_hash({**defaults, key: 0.5}, DATA) != cell_hash(defaults, DATA), key
            without = {other: value for other, value in defaults.items() if other != key}
            assert cell_hash(without, DATA) == cell_hash(defaults, DATA)

    def test_losses_that_may_train_for_different_times_are_not_compared(self, plan_of):
        with pytest.raises(ConfigError, match="train.patience"):
            plan_of(train__eval_every=5, train__patience=2)

    @pytest.mark.parametrize("split", ["train", "val", "test"])
    def test_other_data_is_another_cell(self, plan_of, split: str):
        changed = plan_of(data={**DATA, split: facts(split, "ffff0000")})
        assert changed["cells"][0]["hash"] != plan_of()["cells"][0]["hash"]

    @pytest.mark.parametrize(
        ("arguments", "options", "words"),
        [
            (((),), {}, "--losses"),
            ((("huber",), ()), {}, "--seeds"),
            ((("huber", "huber"),), {}, "'huber' twice"),
            ((("huber",), (1, 1)), {}, "1 twice"),
            ((), {"baseline": "giou"}, "--baseline"),
            ((("huber", "a[b"),), {}, "loss"),
            ((("huber",), (-1,)), {}, "seed"),
        ],
    )
    def test_impossible_plans_are_refused(self, plan_of, arguments, options, words: str):
        with pytest.raises(ConfigError, match=words):
            plan_of(*arguments, **options)


class TestCellNames:
    def test_readable(self):
        assert cell_ids(["huber", "smooth-iou[lam=box,delta=0.5]", "my.losses:Tight"]) == {
            "huber": "huber",
            "smooth-iou[lam=box,delta=0.5]": "smooth-iou-lam-box-delta-0.5",
            "my.losses:Tight": "my.losses-Tight",
        }

    @given(st.lists(st.text(min_size=1, max_size=120), min_size=1, max_size=6, unique=True))
    def test_always_safe_and_unique_even_where_case_is_ignored(self, losses: list[str]):
        names = list(cell_ids(losses).values())
        assert len({name.lower() for name in names}) == len(losses)
        for name in names:
            assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,90}", name), name

    @given(st.lists(st.text("ab-=[]. :", min_size=1, max_size=8), min_size=2, max_size=6, unique=True))
    def test_a_loss_added_later_renames_nobody(self, losses: list[str]):
        assert cell_ids(losses[:-1]).items() <= cell_ids(losses).items()

    def test_two_that_would_read_the_same(self):
        names = cell_ids(["huber[delta=0.5]", "huber[delta=-0.5]"])
        assert names["huber[delta=0.5]"] == "huber-delta-0.5"
        assert re.fullmatch(r"huber-delta-0\.5-[0-9a-f]{12}", names["huber[delta=-0.5]"])


class TestWriteOrContinue:
    def test_a_new_folder_gets_the_plan(self, plan_of, tmp_path: Path):
        plan, message = write_or_continue(tmp_path / "study", plan_of())
        assert message == ""
        assert read_plan(tmp_path / "study") == plan == plan_of() | {"created": plan["created"]}

    def test_the_same_plan_continues(self, plan_of, finish, tmp_path: Path):
        first, _ = write_or_continue(tmp_path, plan_of())
        finish(tmp_path, first["cells"][0])
        second, message = write_or_continue(tmp_path, plan_of())
        assert second == first
        assert message == f"{tmp_path}: continued, 1 of 4 cells are done."

    def test_data_that_moved_and_another_device_continue_too(self, plan_of, tmp_path: Path):
        write_or_continue(tmp_path, plan_of(data__path="old", train__device="cpu"))
        plan, _ = write_or_continue(tmp_path, plan_of(data__path="new", train__workers=2))
        assert plan["settings"]["data.path"] == "new"
        assert plan["cells"][0]["settings"]["train.workers"] == 2
        assert read_plan(tmp_path) == plan

    def test_more_seeds_and_losses_extend_it(self, plan_of, finish, tmp_path: Path):
        first, _ = write_or_continue(tmp_path, plan_of())
        finish(tmp_path, first["cells"][0])
        plan, message = write_or_continue(tmp_path, plan_of(("huber", "giou"), (0, 2)))
        assert (plan["losses"], plan["seeds"]) == (["huber", "smooth-iou", "giou"], [0, 1, 2])
        assert len(plan["cells"]) == 9
        assert "1 of 9 cells are done; extended by losses giou and seeds 2." in message
        assert {c["id"]: c["hash"] for c in first["cells"]}.items() <= {
            c["id"]: c["hash"] for c in plan["cells"]
        }.items()
        assert plan["extended"][0]["command"] == ["smoothiou", "compare", "bccd"]
        assert plan["created"] == first["created"]
        again, message = write_or_continue(tmp_path, plan_of(("huber", "giou"), (0, 2)))
        assert again == plan
        assert "extended" not in message

    def test_a_part_of_the_study_leaves_the_rest_in_the_plan(self, plan_of, tmp_path: Path):
        first, _ = write_or_continue(tmp_path, plan_of())
        assert write_or_continue(tmp_path, plan_of(("smooth-iou",), (1,)))[0] == first

    def test_the_baseline_stays_unless_another_is_named(self, plan_of, tmp_path: Path):
        write_or_continue(tmp_path, plan_of())
        kept, _ = write_or_continue(tmp_path, plan_of(("giou", "huber")))
        assert kept["baseline"] == "huber"
        named, message = write_or_continue(tmp_path, plan_of(("giou", "huber")), baseline="giou")
        assert named["baseline"] == "giou"
        assert "baseline is now giou (was huber)" in message

    def test_another_version_is_said(self, plan_of, tmp_path: Path, monkeypatch):
        write_or_continue(tmp_path, plan_of())
        monkeypatch.setattr("smoothiou.manifest.version", lambda: "0.2.0")
        plan, message = write_or_continue(tmp_path, plan_of())
        assert "begun with smoothiou 0.1.0, continued with 0.2.0" in message
        assert plan["smoothiou"] == "0.1.0"

    def test_another_plan_is_refused_and_every_differing_key_named(self, plan_of, tmp_path: Path):
        write_or_continue(tmp_path, plan_of())
        before = (tmp_path / "plan.json").read_bytes()
        other = plan_of(train__steps=7, data={**DATA, "test": facts("test", "ffff0000")})
        with pytest.raises(ConfigError) as caught:
            write_or_continue(tmp_path, other)
        assert "train.steps: 400 there, 7 asked for" in str(caught.value)
        assert "data.test.fingerprint: '3c1f9a2b' there, 'ffff0000' asked for" in str(caught.value)
        assert "--overwrite" in caught.value.hint
        assert (tmp_path / "plan.json").read_bytes() == before

    def test_overwrite_deletes_the_study_and_nothing_else(self, plan_of, finish, tmp_path: Path):
        plan, _ = write_or_continue(tmp_path, plan_of())
        home = finish(tmp_path, plan["cells"][0])
        for name in ("report.html", "comparison.json", "my notes.txt"):
            (tmp_path / name).write_text("x")
        new, message = write_or_continue(tmp_path, plan_of(train__steps=7), overwrite=True)
        assert "starts anew" in message
        assert sorted(item.name for item in tmp_path.iterdir()) == ["my notes.txt", "plan.json"]
        assert not home.exists()
        assert read_plan(tmp_path) == new

    def test_an_overwrite_that_is_killed_while_it_deletes_leaves_no_half_cells(
        self, plan_of, finish, tmp_path: Path, monkeypatch
    ):
        plan, _ = write_or_continue(tmp_path, plan_of())
        home = finish(tmp_path, plan["cells"][0])

        def killed(folder: Path, **options: bool) -> None:
            if folder.exists():
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(shutil, "rmtree", killed)
            with pytest.raises(KeyboardInterrupt):
                write_or_continue(tmp_path, plan_of(train__steps=7), overwrite=True)
        assert not home.exists()
        write_or_continue(tmp_path, plan_of(train__steps=7), overwrite=True)
        assert [item.name for item in tmp_path.iterdir()] == ["plan.json"]

    def test_overwrite_is_refused_while_a_cell_runs(self, plan_of, finish, tmp_path: Path):
        plan, _ = write_or_continue(tmp_path, plan_of())
        home = finish(tmp_path, plan["cells"][0])
        with lock_cell(tmp_path, plan["cells"][0]), pytest.raises(ConfigError, match="huber-seed0"):
            write_or_continue(tmp_path, plan_of(train__steps=7), overwrite=True)
        assert home.exists()

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_folder_of_something_else_is_never_touched(self, plan_of, tmp_path: Path, overwrite: bool):
        (tmp_path / "thesis.tex").write_text("x")
        with pytest.raises(ConfigError, match="thesis"):
            write_or_continue(tmp_path, plan_of(), overwrite=overwrite)
        with pytest.raises(ConfigError, match="file"):
            write_or_continue(tmp_path / "thesis.tex", plan_of(), overwrite=overwrite)
        assert [item.name for item in tmp_path.iterdir()] == ["thesis.tex"]


class TestReadPlan:
    def test_no_plan(self, tmp_path: Path):
        with pytest.raises(DataError, match="no study"):
            read_plan(tmp_path)

    @pytest.mark.parametrize(
        ("edit", "words"),
        [
            (lambda p: p.update(schema_version=99), "schema_version"),
            (lambda p: p.pop("seeds"), "seeds"),
            (lambda p: p.update(settings=[]), "settings"),
            (lambda p: p["cells"][1].pop("hash"), r"cells\[1\]: hash"),
        ],
    )
    def test_a_damaged_plan_names_the_key(self, plan_of, tmp_path: Path, edit, words: str):
        plan = plan_of()
        edit(plan)
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        with pytest.raises(DataError, match=words):
            read_plan(tmp_path)

    def test_a_plan_cut_in_the_middle(self, plan_of, tmp_path: Path):
        (tmp_path / "plan.json").write_text(json.dumps(plan_of())[:200])
        with pytest.raises(DataError, match="JSON"):
            read_plan(tmp_path)


class TestEstimate:
    def test_before_the_first_cell_time_is_unknown_and_space_is_guessed(self, plan_of):
        guess = estimate(plan_of(train__steps=50))
        assert (guess["cells"], guess["done"], guess["to_run"], guess["steps"]) == (4, 0, 4, 200)
        assert (guess["seconds"], guess["disk_free_mb"]) == (None, None)
        assert 100 < guess["disk_mb"] < 500  # nano: about 11 MB of weights, four times in each of four cells
        assert estimate(plan_of(model__name="resnet50-fpn"))["disk_mb"] > 2000

    def test_finished_cells_tell(self, plan_of, finish, tmp_path: Path):
        plan = plan_of()
        home = finish(tmp_path, plan["cells"][0])
        (home / "last.ckpt").write_bytes(bytes(3_000_000))
        guess = estimate(plan, tmp_path)
        assert (guess["done"], guess["to_run"], guess["seconds"]) == (1, 3, 300.0)  # 90 s + 10 s each
        assert guess["disk_mb"] == 12
        assert guess["disk_free_mb"] > 0
        assert guess["basis"] == "1 finished cell"
        assert estimate(plan, tmp_path, jobs=2)["seconds"] == 200.0  # two rounds of two
        assert estimate(plan, tmp_path / "not there yet")["disk_free_mb"] > 0

    def test_a_finished_study_needs_nothing_more(self, plan_of, finish, tmp_path: Path):
        plan = plan_of()
        for cell in plan["cells"]:
            finish(tmp_path, cell)
        guess = estimate(plan, tmp_path, jobs=3)
        assert (guess["to_run"], guess["steps"], guess["seconds"]) == (0, 0, 0.0)
        assert cell_folder(tmp_path, plan["cells"][0]).is_dir()


class TestCuts:
    """Each seed with a train and a val of its own."""

    @pytest.fixture
    def cut_plan(self):
        def make(seeds: tuple[int, ...], word: str = "cut", **options):
            cuts = {
                seed: {split: {"fingerprint": f"{word}{seed}{split}", "images": 9} for split in ("train", "val")}
                for seed in seeds
            }
            return make_plan(
                RunConfig(), losses=["l1", "huber"], seeds=seeds, data=DATA, classes=[], command=[], cuts=cuts
            )

        return make

    def test_a_cell_is_one_of_its_own_images_and_losses_of_a_seed_share_them(self, cut_plan, plan_of):
        plan = cut_plan((0, 1))
        for cell in plan["cells"]:
            data = {**DATA, **plan["cuts"][str(cell["seed"])]}
            assert cell["hash"] == cell_hash(cell["settings"], data)
        assert "data.resplit" not in plan["settings"]

    def test_it_grows_and_keeps_what_it_has(self, cut_plan, tmp_path: Path):
        first, _ = write_or_continue(tmp_path, cut_plan((0, 1)))
        grown, _ = write_or_continue(tmp_path, cut_plan((1, 2)))
        assert list(grown["cuts"]) == ["0", "1", "2"]
        assert grown["cells"][:4] == first["cells"]
        assert read_plan(tmp_path) == grown

    def test_other_cuts_of_the_same_seeds_are_another_study(self, cut_plan, tmp_path: Path):
        write_or_continue(tmp_path, cut_plan((0, 1)))
        with pytest.raises(ConfigError, match=r"cut\.1\.train"):
            write_or_continue(tmp_path, cut_plan((1, 2), "other"))

    @pytest.mark.parametrize("edit", [lambda c: c.pop("1"), lambda c: c.update({"1": 7}), lambda c: c["1"].pop("val")])
    def test_damaged_cuts_are_named(self, cut_plan, tmp_path: Path, edit):
        plan = cut_plan((0, 1))
        edit(plan["cuts"])
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        with pytest.raises(DataError, match="cuts"):
            read_plan(tmp_path)


class TestMargin:
    def test_it_stays_as_the_study_began(self, plan_of, tmp_path: Path):
        write_or_continue(tmp_path, {**plan_of(seeds=(0,)), "margin": {"AP": 0.02}})
        more = plan_of(seeds=(0, 1))
        grown, _ = write_or_continue(tmp_path, more)
        assert grown["margin"] == {"AP": 0.02}
        assert grown["extended"][0]["seeds"] == 1
        with pytest.raises(ConfigError, match="--margin"):
            write_or_continue(tmp_path, {**more, "margin": {"AP": 0.01}})

    def test_a_plan_without_one_has_the_usual_margin(self, plan_of, tmp_path: Path):
        write_or_continue(tmp_path, plan_of())
        assert "margin" not in read_plan(tmp_path)
        write_or_continue(tmp_path, {**plan_of(), "margin": {"AP": 0.01}})
        with pytest.raises(ConfigError, match="--margin"):
            write_or_continue(tmp_path, {**plan_of(), "margin": {"AP": 0.03}})

    @pytest.mark.parametrize("margin", [0.0, -0.01, 1.0, float("nan")])
    def test_an_impossible_one_is_refused(self, margin: float):
        with pytest.raises(ConfigError, match=f"--margin.* {100 * margin:g}\\."):
            make_plan(RunConfig(), losses=["l1"], seeds=[0], data=DATA, classes=[], command=[], margin={"AP": margin})
