"""Compiled pipelines run whole in containers, without a cluster, by Kubeflow's own local runner."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine import AUTHOR, IMAGE, Engine, Run

pytestmark = pytest.mark.engine
GATE = "EdgeEvaluator-candidate"
JUDGED = {"accuracy": {"min": 0.8}}
Judge = Callable[..., Run]


def told(run: Run) -> dict[str, Any]:
    """What the gate told Kubeflow."""
    return json.loads(run.output_of(GATE, "executor_output.json").read_text())


def verdict(run: Run) -> str:
    return told(run)["parameterValues"]["verdict"]


def pushed(run: Run) -> list[Path]:
    return sorted(run.root.glob("**/pushed/*/tflite"))


@pytest.fixture
def judge(engine: Engine, digits: Run, tmp_path: Path) -> Judge:
    """Runs the author's pipeline on the candidate of the digits pipeline."""
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o777)  # whatever the umask: tasks run as another user
    shutil.copytree(digits.output_of("LiteConverter-int8", "edge_model"), root / "model")
    shutil.copytree(digits.output_of("Transform", "transformed_examples"), root / "examples")
    shutil.copytree(digits.output_of("Transform", "transform_graph"), root / "graph")
    package = engine.compile(
        f"{AUTHOR}:create_pipeline", tmp_path / "gate.yaml", "--arg", f"root={root}", "--volume", f"claim:{root}"
    )

    def run(thresholds: dict[str, Any], **options: Any) -> Run:
        uris = {"model-uri": str(root / "model"), "graph-uri": str(root / "graph")}
        return engine.run(package, root, uris | {"gate-config": json.dumps({"thresholds": thresholds})}, options)

    return run


def test_the_candidate_is_blessed_and_pushed(digits: Run) -> None:
    assert digits.status == 0, digits.output[-5000:]
    assert verdict(digits) == "blessed"
    (model,) = pushed(digits)
    (blessing,) = told(digits)["artifacts"]["blessing"]["artifacts"]
    assert hashlib.sha256(model.read_bytes()).hexdigest() == blessing["metadata"]["sha256"]


def test_the_report_has_the_figures_that_decided(digits: Run) -> None:
    document = json.loads((digits.output_of(GATE, "report") / "report.json").read_text())
    (report,) = told(digits)["artifacts"]["report"]["artifacts"]
    (model,) = pushed(digits)
    assert report["metadata"]["size_bytes"] == model.stat().st_size <= 50_000
    assert document["quality"]["metrics"]["accuracy"]["candidate"]["value"] == report["metadata"]["accuracy"] >= 0.8


def test_markers_run_where_the_gate_has_blessed_and_only_there(digits: Run) -> None:
    reports = {
        gate.parent.parent.name: json.loads(gate.read_text()) for gate in digits.root.glob("*/*/report/report.json")
    }
    blessed = {gate: report["verdict"]["blessed"] for gate, report in reports.items()}
    assert len(blessed) == 4
    assert blessed[GATE]
    assert {gate: f"{gate}: blessed" in digits.output for gate in blessed} == blessed


def test_tasks_do_not_run_as_root(engine: Engine, digits: Run) -> None:
    assert engine.docker("image", "inspect", "--format", "{{.Config.User}}", IMAGE) == "1000:1000"
    written = [file for file in digits.root.glob("*/*/*/*") if file.is_file()]
    assert len(written) > 10
    assert {file.stat().st_uid for file in written} == {1000}


def test_the_image_has_no_compilers_and_any_user_can_compile_in_it(engine: Engine) -> None:
    run = ("run", "--rm", "--network", "none", "--user", "4321", IMAGE)
    assert engine.docker(*run, "sh", "-c", "command -v gcc g++ cc make || echo none") == "none"
    compiled = engine.docker(
        *(*run, "tfx-edge", "kubeflow", "compile", "tfx_edge.pipelines.digits.pipeline:create", "-o", "/tmp/x.yaml"),
        *("--arg", "root=/tmp/data", "--arg", f"thresholds={json.dumps(JUDGED)}"),
        *("--pipeline-root", "minio://mlpipeline/digits", "--volume", "claim:/tmp/data"),
    )
    assert "wrote /tmp/x.yaml: 21 tasks" in compiled


def test_an_authors_modules_run_in_the_image(judge: Judge) -> None:
    run = judge(JUDGED)
    assert run.status == 0, run.output[-5000:]
    assert "brought by user 1000" in run.output
    brought = sum(file.is_file() for file in run.output_of("bring", "examples").rglob("*"))
    assert f"{brought} files were brought" in run.output
    assert verdict(run) == "blessed"
    assert len(pushed(run)) == 1


def test_a_model_below_the_threshold_is_not_pushed(judge: Judge) -> None:
    run = judge({"size_bytes": {"max": 1000}})
    assert run.status == 0, run.output[-5000:]
    assert verdict(run) == "not blessed"
    assert "size_bytes" in told(run)["parameterValues"]["reason"]
    assert f"{GATE}: blessed" not in run.output
    assert pushed(run) == []


def test_a_task_that_is_killed_for_its_memory_leaves_nothing_and_the_next_run_pushes(judge: Judge) -> None:
    killed = judge(JUDGED, mem_limit="500m", memswap_limit="500m")
    assert killed.status != 0
    assert "brought by user 1000" in killed.output  # what needs less memory has run
    assert killed.wrote("bring")
    assert killed.wrote(GATE) == []
    assert not (killed.root / "pushed").exists()
    assert judge(JUDGED).status == 0
    assert len(pushed(killed)) == 1
