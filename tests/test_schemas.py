"""The JSON Schemas in docs/schema say what is written: in step with the models, and really written files fit them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel, ValidationError

from smoothiou.schemas import OUTPUTS, schemas

from .cli.conftest import TINY, run_here
from .report.fake_study import make_study

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schema"


def undeclared(value: Any, where: str = "") -> list[str]:
    """Return the places of keys that a model does not declare."""
    if isinstance(value, BaseModel):
        fields = {**dict(value), **(value.model_extra or {})}
        inner = [place for name in type(value).model_fields for place in undeclared(fields[name], f"{where}.{name}")]
        return [*(f"{where}.{name}" for name in value.model_extra or {}), *inner]
    if isinstance(value, dict):
        return [place for key, item in value.items() for place in undeclared(item, f"{where}.{key}")]
    if isinstance(value, list):
        return [place for item in value for place in undeclared(item, f"{where}[]")]
    return []


@pytest.mark.parametrize("name", ["recipe", *OUTPUTS])
def test_the_files_of_the_documentation_are_what_the_models_give(name):
    assert json.loads((SCHEMAS / f"{name}.json").read_text()) == schemas()[name], (
        f"write it anew: smoothiou config schema {name} > docs/schema/{name}.json"
    )


def test_there_is_no_other_file():
    assert {path.stem for path in SCHEMAS.glob("*.json")} == {"recipe", *OUTPUTS}


def test_every_setting_has_a_meaning_in_the_schema_of_a_recipe():
    sections = [value for name, value in schemas()["recipe"]["$defs"].items() if name.endswith("Config")]
    assert len(sections) == 6
    assert all(field["description"] for section in sections for field in section["properties"].values())


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, list[dict[str, Any]]]:
    """What the commands of a tiny study write and print, by the name of its schema."""
    folder = tmp_path_factory.mktemp("written")

    def printed(*words: object) -> dict[str, Any]:
        return json.loads(run_here(folder, *words, "--quiet", "--json").stdout)

    Image.new("RGB", (50, 40)).save(folder / "a.png")
    study = ("compare", "shapes", "--seeds", "0", "--out", "STUDY", *TINY)
    dry_runs = [printed(*study, "--dry-run"), printed(*study, "--dry-run", "--until", "1")]
    compared, run = printed(*study), "STUDY/cells/huber-seed0"
    cells = sorted((folder / "STUDY" / "cells").glob("*/result.json"))
    return {
        "plan": [json.loads((folder / "STUDY" / "plan.json").read_text())],
        "result": [json.loads(path.read_text()) for path in cells],
        "compare": [compared],
        "compare-dry-run": dry_runs,
        "eval": [printed("eval", run), printed("eval", run, "--nms", "soft,wbf")],
        "predict": [printed("predict", run, "a.png", "--score", "0")],
        "export": [printed("export", run, "--to", "torchscript", "--images", n) for n in (0, 1)],
        "error": [printed("train", "nowhere"), printed("eval", "nowhere")],
    }


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_is_really_written_fits_and_the_keys_are_declared(name, written):
    # A difference and a failure carry more than is promised.
    free = {"compare": (".differences[]",), "error": (".",)}.get(name, ("no other",))
    for content in written[name]:
        model = OUTPUTS[name].model_validate(content)
        assert not [place for place in undeclared(model) if not place.startswith(free)]


def test_what_lacks_a_key_or_has_another_type_does_not_fit(tmp_path):
    study = make_study(tmp_path / "STUDY", gallery=0)
    plan = json.loads((study / "plan.json").read_text())
    result = json.loads(next(study.glob("cells/*/result.json")).read_text())
    OUTPUTS["plan"].model_validate(plan)
    OUTPUTS["result"].model_validate(result)
    for name, content, change in (
        ("plan", plan, {"seeds": "0,1"}),
        ("plan", plan, {"schema_version": 2}),
        ("result", result, {"metrics": {"AP": 0.5}}),
        ("result", result, {"loss": None}),
    ):
        with pytest.raises(ValidationError):
            OUTPUTS[name].model_validate({**content, **change})
