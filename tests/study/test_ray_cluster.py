"""What the command does with what comes back from a cluster, which a few lines stand in for."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from smoothiou import files
from smoothiou.errors import ConfigError, InterruptedRun
from smoothiou.study import RayOptions, cell_folder, cell_state, ray_cluster, run_on_ray
from smoothiou.study.cells import lock_cell, read_error
from smoothiou.study.ray_cluster import cells_at_once, check_machines, connect
from smoothiou.study.ray_task import Outcome
from tests.study.conftest import result_of


class RayError(Exception):
    pass


class NodeDiedError(RayError):
    pass


class TaskCancelledError(RayError):
    pass


class RayTaskError(RayError):
    pass


class FakeRay:
    """Runs a task when its result is asked for; `behave(cell, checkpoint)` returns an outcome or raises."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError, TaskCancelledError=TaskCancelledError)

    def __init__(self, behave: Callable[[Any, Any], Outcome]) -> None:
        self.behave, self.trained, self.cancelled = behave, [], []
        self.given, self.tasks, self.alive = {}, {}, iter(())

    def remote(self, **given: Any) -> Any:
        self.given = given
        return lambda function: self

    def options(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *task, **site: self.tasks.update({name: task}) or name)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True}] * next(self.alive, 2)

    def wait(self, references: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return references[:1], references[1:]

    def get(self, reference: Any) -> Any:
        self.trained.append(reference)
        return self.behave(*self.tasks[reference])

    def cancel(self, reference: Any, force: bool) -> None:
        self.cancelled.append(reference)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeRay]:
    """Give a function that puts a stand-in in the place of Ray."""

    def make(behave: Callable[[Any, Any], Outcome], *, all_shared: bool = False) -> FakeRay:
        ray = FakeRay(behave)

        @contextlib.contextmanager
        def connected(options: RayOptions) -> Iterator[FakeRay]:
            yield ray

        monkeypatch.setattr(ray_cluster, "connect", connected)
        monkeypatch.setattr(ray_cluster, "check_machines", lambda *_: all_shared)
        return ray

    return make


def files_of(cell: Any) -> dict[str, bytes]:
    return {"result.json": json.dumps(result_of(dict(cell))).encode(), "done": b"", "last.ckpt": b"whole"}


def well(cell: Any, checkpoint: Any) -> Outcome:
    return Outcome("done", "", 2.0, files_of(cell))


def test_results_that_come_back_are_written_and_finished_cells_are_not_run(play, plan_of, finish, tmp_path):
    plan = plan_of()
    finish(tmp_path, plan["cells"][1])
    files.write_text(cell_folder(tmp_path, plan["cells"][2]) / "previous.ckpt", "of an earlier try")
    ray = play(well)
    counts = run_on_ray(tmp_path, plan, RayOptions(cpus=2, gpus=0.5, retries=5))
    assert counts == {"done": 3, "skipped": 1, "failed": 0, "busy": 0, "stopped": 0}
    assert ray.trained == [plan["cells"][i]["id"] for i in (0, 2, 3)]
    assert (ray.given["num_cpus"], ray.given["num_gpus"], ray.given["max_retries"]) == (2, 0.5, 5)
    assert all(cell_state(tmp_path, cell) == "done" for cell in plan["cells"])
    assert not (cell_folder(tmp_path, plan["cells"][2]) / "previous.ckpt").exists()
    assert not (tmp_path / ".shared").exists()
    assert run_on_ray(tmp_path, plan, RayOptions())["skipped"] == 4
    assert len(ray.trained) == 3


def test_a_cell_that_is_lost_has_failed_and_the_others_go_on(play, plan_of, tmp_path):
    plan, lines = plan_of(("huber", "iou", "giou"), (0,)), []

    def behave(cell: Any, checkpoint: Any) -> Outcome:
        if cell["loss"] == "huber":
            raise NodeDiedError("gone")
        if cell["loss"] == "iou":
            raise RayTaskError("Traceback\nValueError: of our own")
        return well(cell, checkpoint)

    play(behave).alive = iter([2, 1])
    counts = run_on_ray(tmp_path, plan, RayOptions(retries=1), say=lines.append)
    assert (counts["failed"], counts["done"]) == (2, 1)
    assert "NodeDiedError" in read_error(tmp_path, plan["cells"][0])
    assert read_error(tmp_path, plan["cells"][1]).endswith("ValueError: of our own")
    assert lines == [
        "Ray has 1 machine, and had 2; what is lost is tried again.",
        "Ray has 2 machines, and had 1; what is lost is tried again.",
    ]


@pytest.mark.parametrize(("all_shared", "sent"), [(True, {}), (False, {"last.ckpt": b"half"})])
def test_a_checkpoint_is_sent_only_where_a_machine_cannot_read_it(play, plan_of, tmp_path, all_shared, sent):
    plan, begun = plan_of(("huber",), (0,)), []
    files.write_bytes(cell_folder(tmp_path, plan["cells"][0]) / "last.ckpt", b"half")
    play(lambda cell, checkpoint: begun.append(checkpoint) or well(cell, checkpoint), all_shared=all_shared)
    assert run_on_ray(tmp_path, plan, RayOptions())["done"] == 1
    assert begun == [sent]


def test_a_failure_on_a_machine_is_noted_in_the_study(play, plan_of, tmp_path):
    plan = plan_of(("huber", "iou", "giou"), (0,))
    outcomes = {
        "huber": Outcome("failed", "m: no", 0.0, {"error.txt": b"no\n\nlong", "log.txt": b"l"}),
        "iou": Outcome("failed", "m: python 3.9.1, expected 3.12.1.", 0.0, None),
        "giou": Outcome("done", "", 0.0, None),
    }
    play(lambda cell, checkpoint: outcomes[cell["loss"]])
    assert run_on_ray(tmp_path, plan, RayOptions())["failed"] == 3
    errors = [read_error(tmp_path, cell) for cell in plan["cells"]]
    assert errors[:2] == ["no", "m: python 3.9.1, expected 3.12.1."]
    assert "result" in errors[2]


def test_what_comes_back_twice_counts_once_and_another_process_keeps_its_cell(play, plan_of, finish, tmp_path):
    plan, events = plan_of(("huber", "iou"), (0,)), []

    def behave(cell: Any, checkpoint: Any) -> Outcome:
        if cell["loss"] == "huber":  # an earlier attempt has ended well in the meantime
            finish(tmp_path, dict(cell))
            return Outcome("done", "", 0.0, {**files_of(cell), "last.ckpt": b"another"})
        return well(cell, checkpoint)

    play(behave)
    with lock_cell(tmp_path, plan["cells"][1]):
        counts = run_on_ray(tmp_path, plan, RayOptions(), on_event=events.append)
    assert (counts["done"], counts["busy"]) == (1, 1)
    assert not (cell_folder(tmp_path, plan["cells"][0]) / "last.ckpt").exists()
    assert str(os.getpid()) in events[1].message


@pytest.mark.parametrize("name", ["../plan.json", "/etc/passwd", ".lock"])
def test_a_worker_cannot_write_outside_the_folder_of_its_cell(play, plan_of, tmp_path, name):
    play(lambda cell, checkpoint: Outcome("done", "", 0.0, {**files_of(cell), name: b"planted"}))
    with pytest.raises(ConfigError, match="name"):
        run_on_ray(tmp_path, plan_of(("huber",), (0,)), RayOptions())
    assert not (tmp_path / "cells" / "plan.json").exists()


def test_a_signal_cancels_what_runs_and_the_same_call_continues(play, plan_of, tmp_path):
    plan, events = plan_of(("huber", "iou"), (0,)), []

    def behave(cell: Any, checkpoint: Any) -> Outcome:
        if not ray.cancelled:
            os.kill(os.getpid(), signal.SIGINT)
            return well(cell, checkpoint)
        raise TaskCancelledError

    ray = play(behave)
    with pytest.raises(InterruptedRun):
        run_on_ray(tmp_path, plan, RayOptions(), on_event=events.append)
    assert ray.cancelled == [plan["cells"][1]["id"]]
    assert [event.kind for event in events] == ["done", "stopped"]
    play(well)
    assert run_on_ray(tmp_path, plan, RayOptions()) == {"done": 1, "skipped": 1, "failed": 0, "busy": 0, "stopped": 0}


@pytest.mark.parametrize(("device", "gpus"), [("cuda:1", 1), ("cuda", 0)])
def test_a_device_that_ray_will_not_give_is_refused(plan_of, tmp_path, device, gpus):
    with pytest.raises(ConfigError, match="device"):
        run_on_ray(tmp_path, plan_of(train__device=device), RayOptions(gpus=gpus))


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"cpus": 0}, "--cpus-per-cell"),
        ({"gpus": 2}, "--gpus-per-cell"),
        ({"retries": -1}, "--retries"),
        ({"address": "ray://head:10001"}, "--address"),
    ],
)
def test_options_out_of_range_are_refused(changes, option):
    with pytest.raises(ConfigError, match=option):
        RayOptions(**changes)


def test_an_address_in_the_environment_is_read_as_strictly(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(ConfigError, match="RAY_ADDRESS"):
        RayOptions()


@pytest.mark.parametrize(
    ("resources", "options", "cells"),
    [
        ({"CPU": 8.0}, RayOptions(cpus=3), 2),
        ({"CPU": 8.0}, RayOptions(gpus=1), 0),
        ({"CPU": 8.0, "GPU": 2.0}, RayOptions(gpus=1), 2),
        ({"CPU": 8.0, "GPU": 2.0}, RayOptions(gpus=0.4), 4),
        ({"CPU": 8.0, "GPU": 1.0}, RayOptions(gpus=0.2), 5),
        ({}, RayOptions(), 0),
    ],
)
def test_how_many_cells_a_machine_has_room_for(resources, options, cells):
    assert cells_at_once(resources, options) == cells


def test_a_cluster_without_room_is_refused():
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'smoothiou[ray]'")
    nodes = [{"Alive": True, "NodeID": "a", "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0}}]
    ray = SimpleNamespace(nodes=lambda: nodes)
    with pytest.raises(ConfigError, match="4 CPUs .* 2 CPUs"):
        check_machines(ray, RayOptions(cpus=4), ("", ""), {}, print)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "somewhere"])
def test_an_address_where_nobody_answers_is_refused_at_once(address):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'smoothiou[ray]'")
    with pytest.raises(ConfigError, match=address), connect(RayOptions(address=address)):
        pass
