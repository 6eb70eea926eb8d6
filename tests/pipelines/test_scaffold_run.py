"""A project made by ``tfx-edge init``, used as its README says."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tfx_edge.lite.inspect import inspect

pytestmark = pytest.mark.pipeline

TFX_EDGE = (sys.executable, "-m", "tfx_edge.cli")
Done = subprocess.CompletedProcess[str]


def call(folder: Path, *command: str) -> Done:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


@dataclass(frozen=True)
class Runs:
    """A project that ran three times: as it is, with a gate that no model meets, and once more as it is."""

    folder: Path
    first: Done
    blocked: Done
    again: Done
    pushed: Sequence[Path]

    def ask(self, *arguments: str) -> str:
        done = call(self.folder, *TFX_EDGE, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def history(self) -> list[dict[str, Any]]:
        return json.loads(self.ask("history", "--json"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("scaffold") / "my_wine"
    made = call(folder.parent, *TFX_EDGE, "init", folder.name)
    assert made.returncode == 0, made.stderr
    first = call(folder, sys.executable, "run_local.py")
    pushed = sorted((folder / "pushed").glob("*/tflite"))
    strict = {"thresholds": {"accuracy": {"min": 0.999}, "size_bytes": {"max": 100}}, "time_budget_s": 1}
    (folder / "strict.json").write_text(json.dumps(strict))
    blocked = call(folder, sys.executable, "run_local.py", "--gate", "strict.json")
    again = call(folder, sys.executable, "run_local.py")
    return Runs(folder, first, blocked, again, pushed)


def test_it_runs_to_the_end_and_pushes_a_blessed_int8_file(runs: Runs) -> None:
    assert runs.first.returncode == 0, runs.first.stdout + runs.first.stderr
    (pushed,) = runs.pushed
    assert inspect(pushed).precision == "int8"
    assert f"pushed: {pushed}" in runs.first.stdout
    assert "Traceback" not in runs.first.stdout + runs.first.stderr


def test_a_gate_that_cannot_be_met_fails_the_run_and_pushes_nothing(runs: Runs) -> None:
    assert runs.blocked.returncode == 1, runs.blocked.stdout + runs.blocked.stderr
    assert "nothing was pushed" in runs.blocked.stdout
    assert "size_bytes" in runs.blocked.stdout
    assert "above the maximum" in runs.blocked.stdout
    assert sorted((runs.folder / "pushed").glob("*/tflite")) == runs.pushed


def test_what_did_not_change_comes_from_the_cache(runs: Runs) -> None:
    assert runs.again.returncode == 0, runs.again.stdout + runs.again.stderr
    assert f"pushed: {runs.pushed[0]}" in runs.again.stdout
    blessed = [entry["blessed"] for entry in runs.history()]
    assert blessed == [True, False], "an evaluation that came from the cache counts once"
    assert len(list((runs.folder / "artifacts" / "Trainer" / "model").iterdir())) == 1
    assert sorted((runs.folder / "pushed").glob("*/tflite")) == runs.pushed


def test_lineage_leads_from_the_pushed_file_to_the_examples(runs: Runs) -> None:
    found = json.loads(runs.ask("lineage", str(runs.pushed[0]), "--json"))
    assert found["sha256"] == hashlib.sha256(runs.pushed[0].read_bytes()).hexdigest()
    made_by = [step["component"] for step in found["steps"]]
    assert made_by[:3] == ["Quantizer", "LiteConverter", "Trainer"]
    assert made_by[-1] == "CsvExampleGen"


def test_its_own_quick_tests_pass(runs: Runs) -> None:
    done = call(runs.folder, sys.executable, "-m", "pytest", "-p", "no:xdist", "-m", "not pipeline")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_it_compiles_for_kubeflow(runs: Runs) -> None:
    pytest.importorskip("kfp", reason="compiling for Kubeflow needs the extra 'kubeflow'")
    options = "--arg root=/data --volume my-wine:/data --pipeline-root gs://bucket/my-wine --image registry/my-wine:1"
    shown = runs.ask("kubeflow", "compile", "pipeline.py", *options.split())
    assert "as module 'wine_model'" in shown
    spec = next(yaml.safe_load_all((runs.folder / "pipeline.yaml").read_text()))
    assert spec["pipelineInfo"]["name"] == "my-wine"
    assert {"EdgeEvaluator-int8", "EdgeEvaluator-int8-blessed", "Pusher"} <= spec["root"]["dag"]["tasks"].keys()
    parameter = spec["root"]["inputDefinitions"]["parameters"]["gate-config"]
    assert json.loads(parameter["defaultValue"]) == json.loads((runs.folder / "gate.json").read_text())


@pytest.mark.airflow
def test_its_dag_runs_on_airflow(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    folder = tmp_path / "dags" / "wine"
    for project in (folder, folder.with_name("other")):
        assert call(tmp_path, *TFX_EDGE, "init", str(project)).returncode == 0
    settings = {
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "180",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    airflow = ("env", *(f"{name}={value}" for name, value in settings.items()), sys.executable, "-m", "airflow")
    made = call(tmp_path, *airflow, "db", "migrate")
    assert made.returncode == 0, made.stderr
    listed = call(tmp_path, *airflow, "dags", "list", "--output", "plain")
    assert {"wine", "other"} <= {line.split()[0] for line in listed.stdout.splitlines() if line}, listed.stdout
    done = call(tmp_path, *airflow, "dags", "test", "wine", "2026-01-02")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert len(list((folder / "pushed").glob("*/tflite"))) == 1


def test_a_gate_that_is_no_configuration_is_told_before_anything_runs(runs: Runs, tmp_path: Path) -> None:
    shutil.copytree(runs.folder / "data", tmp_path / "data")
    (tmp_path / "gate.json").write_text('{"thresholds": {"acuracy": {"min": 0.9}}}')
    options = ("--root", str(tmp_path), "--gate", str(tmp_path / "gate.json"))
    done = call(runs.folder, sys.executable, "run_local.py", *options)
    assert done.returncode == 2
    assert "acuracy" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "artifacts").exists()
