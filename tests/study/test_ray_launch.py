"""What the command does with what comes back from a cluster; the cluster is played by a few lines."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from smoothiou import files
from smoothiou.errors import ConfigError, InterruptedRun
from smoothiou.study import RayOptions, cell_folder, cell_state, ray_facts, ray_launch, run_on_ray
from smoothiou.study.cells import claim, read_error
from smoothiou.study.ray_cell import Job, Outcome
from smoothiou.study.ray_cluster import _room, connected, look
from tests.study.conftest import result_of


class NodeDiedError(Exception):
    pass


class TaskCancelledError(Exception):
    pass


class RayTaskError(Exception):
    pass


class FakeRay:
    """Runs a task when its result is asked for; `behave(job, attempt)` returns an outcome or raises."""

    exceptions = SimpleNamespace(RayError=Exception, RayTaskError=RayTaskError, TaskCancelledError=TaskCancelledError)

    def __init__(self, behave: Callable[[Job, int], Outcome]) -> None:
        self.behave, self.tries, self.options_given, self.cancelled = behave, {}, [], []

    def remote(self, function: Any) -> Any:
        return self

    def options(self, **given: Any) -> Any:
        self.options_given.append(given)
        return SimpleNamespace(remote=_Reference)

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address="10.0.0.1:6379")

    def wait(self, references: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return references[:1], references[1:]

    def get(self, reference: Any) -> Any:
        if not isinstance(reference, _Reference):
            return reference
        name = reference.job.cell["id"]
        self.tries[name] = self.tries.get(name, 0) + 1
        return self.behave(reference.job, self.tries[name] - 1)

    def put(self, content: Any) -> Any:
        return content

    def cancel(self, reference: Any, force: bool) -> None:
        self.cancelled.append((reference.job.cell["id"], force))


class _Reference:
    def __init__(self, job: Job) -> None:
        self.job = job


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeRay]:
    """Give a function that puts a played cluster in the place of Ray."""

    def make(behave: Callable[[Job, int], Outcome]) -> FakeRay:
        ray = FakeRay(behave)

        @contextlib.contextmanager
        def reach(options: RayOptions) -> Iterator[FakeRay]:
            yield ray

        def look_at(ray: Any, options: Any, *, needed: Any, mark: Any, folder: str) -> Any:
            here = ray_facts.facts(needed, mark, folder)
            return here, [{**here, "cells": 2}, {**here, "cells": 1, "shared": options.shared}]

        monkeypatch.setattr(ray_launch, "connected", reach)
        monkeypatch.setattr(ray_launch, "look", look_at)
        return ray

    return make


def files_of(job: Job) -> dict[str, bytes]:
    return {"result.json": files.json.dumps(result_of(dict(job.cell))).encode(), "done": b"", "last.ckpt": b"whole"}


def well(job: Job, attempt: int) -> Outcome:
    return Outcome(kind="done", machine="m", seconds=2.0, files=files_of(job))


def test_results_that_come_back_are_written_and_finished_cells_are_not_run(play, plan_of, finish, tmp_path):
    plan, events = plan_of(), []
    finish(tmp_path, plan["cells"][1])
    (cell_folder(tmp_path, plan["cells"][2])).mkdir(parents=True)
    (cell_folder(tmp_path, plan["cells"][2]) / "previous.ckpt").write_text("of an earlier try")
    ray = play(well)
    counts = run_on_ray(tmp_path, plan, RayOptions(cpus=2, gpus=0.5), on_event=events.append)
    assert counts == {"done": 3, "skipped": 1, "failed": 0, "busy": 0, "stopped": 0}
    assert ray.tries == {plan["cells"][i]["id"]: 1 for i in (0, 2, 3)}
    assert ray.options_given[0] | {"name": ""} == {"name": "", "num_cpus": 2, "num_gpus": 0.5, "max_retries": 0}
    assert all(cell_state(tmp_path, cell) == "done" for cell in plan["cells"])
    assert not (cell_folder(tmp_path, plan["cells"][2]) / "previous.ckpt").exists()
    assert not (tmp_path / ".shared").exists()
    assert run_on_ray(tmp_path, plan, RayOptions())["skipped"] == 4
    assert sum(ray.tries.values()) == 3


def test_a_cell_that_loses_its_machine_is_tried_again_and_waits_for_its_first_attempt(play, plan_of, tmp_path):
    patience, events = [], []

    def behave(job: Job, attempt: int) -> Outcome:
        patience.append(job.patience)
        if attempt < 2:
            raise NodeDiedError("gone")
        return well(job, attempt)

    plan = plan_of(("huber",), (0,))
    play(behave)
    assert run_on_ray(tmp_path, plan, RayOptions(retries=2), on_event=events.append)["done"] == 1
    assert [event.kind for event in events] == ["retried", "retried", "done"]
    assert events[0].message == "its machine is lost (1 of 2)"
    assert patience == [0.0, ray_launch.PATIENCE_SECONDS, ray_launch.PATIENCE_SECONDS]


def test_a_cell_that_is_lost_too_often_has_failed_and_the_others_go_on(play, plan_of, tmp_path):
    plan = plan_of(("huber", "iou"), (0,))

    def behave(job: Job, attempt: int) -> Outcome:
        if job.cell["loss"] == "huber":
            raise NodeDiedError("gone")
        return well(job, attempt)

    play(behave)
    counts = run_on_ray(tmp_path, plan, RayOptions(retries=1))
    assert (counts["failed"], counts["done"]) == (1, 1)
    assert read_error(tmp_path, plan["cells"][0]) == "its machine is lost, for the 2. time (--retries 1)"


def test_a_machine_that_is_shut_down_gives_back_what_it_saved_and_the_next_goes_on(play, plan_of, tmp_path):
    begun = []

    def behave(job: Job, attempt: int) -> Outcome:
        begun.append(job.begun())
        if attempt == 0:
            return Outcome(kind="stopped", machine="m", files={"last.ckpt": b"half"})
        return well(job, attempt)

    play(behave)
    assert run_on_ray(tmp_path, plan_of(("huber",), (0,)), RayOptions(shared=False))["done"] == 1
    assert begun == [{}, {"last.ckpt": b"half"}]


@pytest.mark.parametrize(("shared", "sent"), [(True, {}), (False, {"last.ckpt": b"half"})])
def test_what_was_begun_is_sent_only_where_a_machine_cannot_read_it(play, plan_of, tmp_path, shared, sent):
    plan, begun = plan_of(("huber",), (0,)), []
    files.write_bytes(cell_folder(tmp_path, plan["cells"][0]) / "last.ckpt", b"half")
    play(lambda job, attempt: begun.append(job.begun()) or well(job, attempt))
    assert run_on_ray(tmp_path, plan, RayOptions(shared=shared))["done"] == 1
    assert begun == [sent]


def test_a_failure_on_a_machine_is_noted_here(play, plan_of, tmp_path):
    plan = plan_of(("huber", "iou", "giou"), (0,))
    outcomes = {
        "huber": Outcome(
            kind="failed", machine="m", message="m: no", files={"error.txt": b"no\n\nlong", "log.txt": b"l"}
        ),
        "iou": Outcome(kind="failed", machine="m", message="m: python 3.9.1 there, 3.12.1 here."),
        "giou": Outcome(kind="done", machine="m"),
    }
    play(lambda job, attempt: outcomes[job.cell["loss"]])
    assert run_on_ray(tmp_path, plan, RayOptions())["failed"] == 3
    assert [read_error(tmp_path, cell) for cell in plan["cells"]] == [
        "no",
        "m: python 3.9.1 there, 3.12.1 here.",
        f"m says that it is done, but its result is not in {tmp_path}",
    ]


def test_what_comes_back_twice_counts_once_and_another_process_keeps_its_cell(play, plan_of, finish, tmp_path):
    plan, events = plan_of(("huber", "iou"), (0,)), []

    def behave(job: Job, attempt: int) -> Outcome:
        if job.cell["loss"] == "huber":  # an earlier attempt's training has ended well in the meantime
            finish(tmp_path, dict(job.cell))
            return Outcome(kind="done", machine="m", files={**files_of(job), "last.ckpt": b"another"})
        return well(job, attempt)

    play(behave)
    with claim(tmp_path, plan["cells"][1]):
        counts = run_on_ray(tmp_path, plan, RayOptions(), on_event=events.append)
    assert (counts["done"], counts["busy"]) == (1, 1)
    assert not (cell_folder(tmp_path, plan["cells"][0]) / "last.ckpt").exists()
    assert str(os.getpid()) in events[1].message


@pytest.mark.parametrize("name", ["../plan.json", "/etc/passwd", ".lock"])
def test_a_worker_cannot_write_outside_the_folder_of_its_cell(play, plan_of, tmp_path, name):
    play(lambda job, attempt: Outcome(kind="done", machine="m", files={**files_of(job), name: b"planted"}))
    with pytest.raises(ConfigError, match="a worker sent a file of the name"):
        run_on_ray(tmp_path, plan_of(("huber",), (0,)), RayOptions())
    assert not (tmp_path / "cells" / "plan.json").exists()


def test_a_signal_cancels_what_runs_and_the_same_call_continues(play, plan_of, tmp_path):
    plan, events = plan_of(("huber", "iou"), (0,)), []

    def behave(job: Job, attempt: int) -> Outcome:
        if not ray.cancelled:
            os.kill(os.getpid(), signal.SIGINT)
            return well(job, attempt)
        raise TaskCancelledError

    ray = play(behave)
    with pytest.raises(InterruptedRun, match="Stopped by a signal"):
        run_on_ray(tmp_path, plan, RayOptions(), on_event=events.append)
    assert ray.cancelled == [(plan["cells"][1]["id"], False)]
    assert [event.kind for event in events] == ["done", "stopped"]
    play(well)
    assert run_on_ray(tmp_path, plan, RayOptions()) == {"done": 1, "skipped": 1, "failed": 0, "busy": 0, "stopped": 0}


def test_data_is_named_by_a_path_that_holds_on_every_machine(play, plan_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").mkdir()
    (tmp_path / "tf.index").touch()
    seen: list[Job] = []
    play(lambda job, attempt: seen.append(job) or well(job, attempt))
    plan = plan_of(("huber",), (0,), data__path="one+shapes", model__weights="tf:tf")
    run_on_ray(tmp_path / "study", plan, RayOptions())
    assert seen[0].cell["settings"]["data.path"] == f"{tmp_path}/one+shapes"
    assert seen[0].needed == (f"{tmp_path}/one", "tf.index")
    assert seen[0].cell["hash"] == plan["cells"][0]["hash"]
    assert seen[0].environment["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("device", "gpus", "said"), [("cuda:1", 1, "Ray chooses the device"), ("cuda", 0, "a cell gets no GPU")]
)
def test_a_device_that_ray_will_not_give_is_refused(plan_of, tmp_path, device, gpus, said):
    with pytest.raises(ConfigError, match=said):
        run_on_ray(tmp_path, plan_of(train__device=device), RayOptions(gpus=gpus))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cpus": 0}, "--cpus-per-cell: expected 1 or more, got 0"),
        ({"gpus": 2}, "--gpus-per-cell: expected 0 to 1, got 2"),
        ({"retries": -1}, "--retries: expected 0 or more, got -1"),
        ({"address": "ray://head:10001"}, "client protocol is not supported"),
    ],
)
def test_options_out_of_range_are_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        RayOptions(**changes)


def test_an_address_in_the_environment_is_read_as_strictly(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(ConfigError, match="client protocol is not supported"):
        RayOptions()


@pytest.mark.parametrize(
    ("resources", "options", "cells"),
    [
        ({"CPU": 8.0}, RayOptions(cpus=3), 2),
        ({"CPU": 8.0}, RayOptions(gpus=1), 0),
        ({"CPU": 8.0, "GPU": 2.0}, RayOptions(gpus=1), 2),
        ({"CPU": 8.0, "GPU": 2.0}, RayOptions(gpus=0.4), 4),
        ({}, RayOptions(), 0),
    ],
)
def test_how_many_cells_a_machine_has_room_for(resources, options, cells):
    assert _room(resources, options) == cells


def test_a_cluster_without_room_is_refused():
    nodes = [{"Alive": True, "NodeID": "a", "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0}}]
    with pytest.raises(ConfigError, match="has the 4 CPUs and 0 GPUs of a cell; the largest have 2 CPUs and 0 GPUs"):
        look(SimpleNamespace(nodes=lambda: nodes), RayOptions(cpus=4), needed=(), mark=("", ""), folder=".")


@pytest.mark.parametrize(
    ("address", "said"), [("127.0.0.1:1", "no cluster was reached at 127.0.0.1:1"), ("here", "expected HOST:PORT")]
)
def test_an_address_where_nobody_answers_is_told_at_once(address, said):
    with pytest.raises(ConfigError, match=said), connected(RayOptions(address=address)):
        pass
