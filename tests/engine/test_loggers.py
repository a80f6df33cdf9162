"""Rows of a training in other places than metrics.csv: at their steps, once, also after a resume."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from smoothiou.engine.loggers import check_logger, finite_row, open_logger
from smoothiou.errors import ConfigError
from tests.cli.conftest import TINY, smoothiou, smoothiou_process  # noqa: F401, the latter two are fixtures

CODE = """
class Mine:
    def __init__(self, *, folder, config, step):
        self.file = (folder / "rows.txt").open("a")
        print("begin", step, config["train.steps"], file=self.file)

    def log(self, step, row):
        print(step, sorted(row)[:2], file=self.file)

    def close(self):
        print("end", file=self.file)
        self.file.close()


def useless(**_):
    return 3


def no_arguments():
    return 3


class Down:
    def __init__(self, **_):
        pass

    def log(self, step, row):
        raise ConnectionError("no server")
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_logger.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "own_logger"
    sys.modules.pop("own_logger", None)


@pytest.mark.skipif(not find_spec("tensorboard"), reason="the extra `tensorboard` is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_each_row_once_after_a_resume(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, steps in ((0, (1, 2, 3, 4)), (2, (3, 4, 5))):  # killed after 4, resumed from the checkpoint of 2
        logger = open_logger("tensorboard", tmp_path, {"optim.lr": 0.1}, step=start)
        for step in steps:
            logger.log(step, {"loss": 10.0 * start + step, "rpn_lambda": 0.5})
        logger.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1.0), (2, 2.0), (3, 23.0), (4, 24.0), (5, 25.0)]
    assert "rpn/lambda" in events.Tags()["scalars"]


def test_a_logger_of_one_s_own_is_told_where_the_run_begins_and_of_every_row(own, smoothiou, tmp_path):  # noqa: F811
    result = smoothiou("train", "shapes", "--loss", "huber", "--out", "RUN", "--train.log", f"{own}:Mine", *TINY)
    assert result.returncode == 0, result.stderr
    begin, *rows, end = (tmp_path / "RUN" / "rows.txt").read_text().splitlines()
    assert (begin, end) == ("begin 0 2", "end")
    assert [row.split()[0] for row in rows] == ["1", "2"]


@pytest.mark.parametrize("name", ["tensorbord", "own_logger:nothing", "no_such_module:x"])
def test_an_unknown_logger_is_refused_before_the_training(own, name):
    with pytest.raises(ConfigError):
        check_logger(name)


@pytest.mark.parametrize("name", ["useless", "no_arguments"])
def test_an_object_that_cannot_log(own, tmp_path, name):
    with pytest.raises(ConfigError, match="log"):
        open_logger(f"{own}:{name}", tmp_path, {}, step=0)


def test_a_logger_that_fails_does_not_end_a_training_and_is_named_once(own, smoothiou):  # noqa: F811
    result = smoothiou("train", "shapes", "--loss", "huber", "--out", "RUN", "--train.log", f"{own}:Down", *TINY)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("no server") == 1


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="wandb"):
        check_logger("wandb")


def test_what_is_no_number_stays_out():
    assert finite_row({"step": 3, "loss": 1, "roi_mean_iou": float("nan")}) == {"loss": 1.0}


class Service:
    """Stands for the packages of Weights & Biases and MLflow: keeps runs by id, as their servers do."""

    def __init__(self):
        self.runs: dict[str, list] = {}
        self.params: list[dict] = []
        self.ended = 0

    def begin(self, id_):
        id_ = id_ or f"run{len(self.runs)}"
        self.runs.setdefault(id_, [])
        self.now = id_
        return id_

    # wandb
    def init(self, *, dir, name, config, id, resume):
        self.id = self.begin(id)
        return self

    def log(self, row, *, step):
        self.runs[self.now].append((step, row))

    def finish(self):
        self.ended += 1

    # mlflow
    def start_run(self, *, run_id, run_name):
        return SimpleNamespace(info=SimpleNamespace(run_id=self.begin(run_id)))

    def log_params(self, params):
        self.params.append(params)

    def log_metrics(self, row, *, step):
        self.log(row, step=step)

    end_run = finish


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_resumed_run_goes_on_as_the_same_run_of_the_service(monkeypatch, tmp_path, name):
    service = Service()
    monkeypatch.setitem(sys.modules, name, service)
    for step in (0, 2):
        logger = open_logger(name, tmp_path, {"optim.lr": 0.1}, step=step)
        assert logger is not None
        logger.log(step + 1, {"loss": 0.5})
        logger.close()
    assert service.runs == {"run0": [(1, {"loss": 0.5}), (3, {"loss": 0.5})]}
    assert service.ended == 2
    assert len(service.params) == (name == "mlflow")


def test_a_service_that_cannot_be_reached_is_named(monkeypatch, tmp_path):
    def refuse(**_):
        raise ConnectionError("no server")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=refuse))
    with pytest.raises(ConfigError, match="wandb.*no server"):
        open_logger("wandb", tmp_path, {}, step=0)
