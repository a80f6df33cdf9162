"""Cells run once, in pairs, survive failures and kills, and are continued by the same call."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from smoothiou.errors import DivergedError, InterruptedRun
from smoothiou.study import cell_folder, cell_state, run_cells
from smoothiou.study.cells import lock_cell, read_error, read_result


def summary_of(events: list) -> list[tuple[str, str]]:
    return [(event.kind, event.cell["id"]) for event in events]


class TestState:
    def test_the_folder_tells(self, plan_of, finish, tmp_path: Path):
        cell = plan_of()["cells"][0]
        home = cell_folder(tmp_path, cell)
        assert cell_state(tmp_path, cell) == "new"
        home.mkdir(parents=True)
        (home / "config.toml").write_text("")
        assert cell_state(tmp_path, cell) == "new"
        (home / "last.ckpt").write_text("")
        assert cell_state(tmp_path, cell) == "partial"
        (home / "error.txt").write_text("DivergedError: loss is nan\n\nTraceback ...")
        assert cell_state(tmp_path, cell) == "failed"
        assert read_error(tmp_path, cell) == "DivergedError: loss is nan"
        finish(tmp_path, cell)
        assert cell_state(tmp_path, cell) == "done"

    def test_a_result_without_the_mark_is_not_done(self, plan_of, finish, tmp_path: Path):
        cell = plan_of()["cells"][0]
        (finish(tmp_path, cell) / "done").unlink()
        assert cell_state(tmp_path, cell) == "new"

    def test_a_result_of_another_hash_or_a_broken_one_is_not_done(self, plan_of, finish, tmp_path: Path):
        cell = plan_of()["cells"][0]
        home = finish(tmp_path, cell)
        assert cell_state(tmp_path, {**cell, "hash": "0" * 12}) == "new"
        (home / "result.json").write_text((home / "result.json").read_text()[:100])
        assert cell_state(tmp_path, cell) == "new"
        (home / "result.json").write_text("[]")
        assert read_result(tmp_path, cell) is None


class TestRunCells:
    def test_pairs_come_first_and_everything_is_done(self, plan_of, finish, tmp_path: Path):
        plan, events = plan_of(seeds=(5, 0)), []
        plan["cells"].sort(key=lambda cell: cell["id"])  # whatever order the file has
        counts = run_cells(tmp_path, plan, lambda cell, _: finish(tmp_path, cell), on_event=events.append)
        assert counts == {"done": 4, "skipped": 0, "failed": 0, "busy": 0, "stopped": 0}
        order = ["huber-seed5", "smooth-iou-seed5", "huber-seed0", "smooth-iou-seed0"]
        assert summary_of(events) == [(kind, cell) for cell in order for kind in ("start", "done")]
        assert [(e.number, e.total) for e in events if e.kind == "done"] == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def test_the_second_call_runs_nothing(self, plan_of, finish, tmp_path: Path):
        run_cells(tmp_path, plan_of(), lambda cell, _: finish(tmp_path, cell))
        counts = run_cells(tmp_path, plan_of(), lambda cell, _: pytest.fail("was done"))
        assert counts == {"done": 0, "skipped": 4, "failed": 0, "busy": 0, "stopped": 0}

    def test_a_failure_is_kept_and_the_others_go_on_and_the_same_call_tries_again(
        self, plan_of, finish, tmp_path: Path
    ):
        events = []

        def fails_once(cell, home: Path):
            if cell["id"] == "huber-seed0" and not (home / "tried").exists():
                (home / "tried").touch()
                raise DivergedError("step 3: loss is nan.", hint="Lower\noptim.lr.")
            finish(tmp_path, cell)

        counts = run_cells(tmp_path, plan_of(), fails_once, on_event=events.append)
        assert counts == {"done": 3, "skipped": 0, "failed": 1, "busy": 0, "stopped": 0}
        text = (tmp_path / "cells" / "huber-seed0" / "error.txt").read_text()
        assert text.startswith("DivergedError: step 3: loss is nan. Lower optim.lr.\n\nTraceback")
        assert "fails_once" in text
        assert [e.message for e in events if e.kind == "failed"] == [
            "DivergedError: step 3: loss is nan. Lower optim.lr."
        ]

        counts = run_cells(tmp_path, plan_of(), fails_once)
        assert counts == {"done": 1, "skipped": 3, "failed": 0, "busy": 0, "stopped": 0}
        assert not (tmp_path / "cells" / "huber-seed0" / "error.txt").exists()

    def test_a_cell_that_leaves_no_result_has_failed(self, plan_of, tmp_path: Path):
        counts = run_cells(tmp_path, plan_of(("huber",), (0,)), lambda cell, _: None)
        assert counts["failed"] == 1
        assert read_error(tmp_path, plan_of()["cells"][0]).startswith("ended without a result")

    def test_a_mark_without_a_valid_result_is_taken_away_before_the_cell_runs(self, plan_of, finish, tmp_path: Path):
        plan = plan_of(("huber",), (0,))
        home = finish(tmp_path, plan["cells"][0])
        (home / "result.json").write_text("{")

        def run(cell, home: Path):
            assert not (home / "done").exists()
            finish(tmp_path, cell)

        assert run_cells(tmp_path, plan, run)["done"] == 1

    @pytest.mark.parametrize("stop", [InterruptedRun("stopped by SIGTERM."), KeyboardInterrupt()])
    def test_a_signal_stops_everything_and_the_same_call_continues(self, plan_of, finish, tmp_path: Path, stop):
        started, events = [], []

        def run(cell, home: Path):
            started.append(cell["id"])
            if len(started) == 2:
                (home / "last.ckpt").touch()
                raise stop
            finish(tmp_path, cell)

        with pytest.raises(type(stop)):
            run_cells(tmp_path, plan_of(), run, on_event=events.append)
        assert started == ["huber-seed0", "smooth-iou-seed0"]
        assert summary_of(events)[-1] == ("stopped", "smooth-iou-seed0")
        assert cell_state(tmp_path, plan_of()["cells"][1]) == "partial"

        assert run_cells(tmp_path, plan_of(), run) == {"done": 3, "skipped": 1, "failed": 0, "busy": 0, "stopped": 0}
        assert started[2] == "smooth-iou-seed0"

    def test_a_cell_that_another_process_trains_is_left_to_it(self, plan_of, finish, tmp_path: Path):
        plan, events = plan_of(), []
        with lock_cell(tmp_path, plan["cells"][0]):
            counts = run_cells(tmp_path, plan, lambda cell, _: finish(tmp_path, cell), on_event=events.append)
        assert counts == {"done": 3, "skipped": 0, "failed": 0, "busy": 1, "stopped": 0}
        assert "process" in events[0].message

    def test_a_cell_that_another_process_takes_just_before_its_training_is_left_to_it(self, plan_of, tmp_path: Path):
        def train(cell, home: Path):
            with lock_cell(tmp_path, cell), lock_cell(tmp_path, cell):
                pytest.fail("locked twice")

        assert run_cells(tmp_path, plan_of(("huber",), (0,)), train)["busy"] == 1
        assert read_error(tmp_path, plan_of()["cells"][0]) == ""

    def test_a_killed_process_holds_no_cell(self, plan_of, finish, tmp_path: Path):
        plan = plan_of(("huber",), (0,))
        code = (
            "import sys, time\nfrom smoothiou.study.cells import lock_cell\n"
            "with lock_cell(sys.argv[1], {'id': sys.argv[2]}):\n    print(flush=True)\n    time.sleep(60)"
        )
        command = [sys.executable, "-c", code, str(tmp_path), plan["cells"][0]["id"]]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            assert run_cells(tmp_path, plan, lambda cell, _: pytest.fail("is locked"))["busy"] == 1
            other.kill()
        assert run_cells(tmp_path, plan, lambda cell, _: finish(tmp_path, cell))["done"] == 1

    def test_other_data_than_the_plans_is_a_failure_that_names_both_hashes(self, plan_of, finish, tmp_path: Path):
        plan = plan_of(("huber",), (0,))
        run_cells(tmp_path, plan, lambda cell, _: finish(tmp_path, {**cell, "hash": "0" * 12}))
        error = read_error(tmp_path, plan["cells"][0])
        assert "0" * 12 in error
        assert plan["cells"][0]["hash"] in error

    def test_an_unwritable_study_is_one_sentence(self, plan_of, tmp_path: Path):
        (tmp_path / "cells").write_text("a file where the folder should be")
        with pytest.raises(ValueError, match="cannot be written"):
            run_cells(tmp_path, plan_of(), lambda cell, _: None)

    def test_the_plan_is_given_whole_to_each_cell(self, plan_of, finish, tmp_path: Path):
        seen = {}

        def run(cell, home: Path):
            seen[home.name] = json.dumps(cell["settings"])
            finish(tmp_path, cell)

        run_cells(tmp_path, plan_of(), run)
        assert seen == {cell["id"]: json.dumps(cell["settings"]) for cell in plan_of()["cells"]}
