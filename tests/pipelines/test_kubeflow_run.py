"""A compiled pipeline, run whole: each task's container command as a process, artifacts passed as Kubeflow does."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kfp", reason="the extra 'kubeflow' is not installed")

import ready
from kubeflow_cluster import Cluster, Task
from kubeflow_launcher import Container
from processes import below, runs, until

pytestmark = pytest.mark.pipeline

HERE = Path(__file__).parent
STORE = "minio://mlpipeline/ready"
GATE, MARKER = "EdgeEvaluator-candidate", "EdgeEvaluator-candidate-blessed"


@dataclass(frozen=True)
class Wine:
    """A cluster with the data in its store, and a compiled pipeline."""

    cluster: Cluster
    package: Path
    pushed: Path

    def run(self, *arguments: tuple[str, str], **watch: Any) -> dict[str, Task]:
        return self.cluster.run(self.package, *arguments, watch=watch)

    def versions(self) -> list[Path]:
        return sorted(self.pushed.glob("*")) if self.pushed.is_dir() else []


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Wine:
    root = tmp_path_factory.mktemp("kubeflow")
    cluster = Cluster(root / "cluster")
    made = ready.make(root / "ready")
    for name in ("model", "examples", "schema"):
        cluster.store.upload(getattr(made, name), f"{STORE}/{name}")
    volume = root / "volume"
    compiled = Wine(cluster, root / "wine.yaml", volume / "pushed")
    pipeline = f"{HERE / 'kubeflow_wine' / 'pipeline.py'}:create_pipeline"
    command = [
        sys.executable, "-m", "tfx_edge.cli", "kubeflow", "compile", pipeline,
        "--arg", f"store={STORE}", "--arg", f"push_to={compiled.pushed}", "--volume", f"wine:{volume}",
        "--image", "registry/wine:1", "-o", str(compiled.package),
    ]  # fmt: skip
    environment = {"PYTHONPATH": str(HERE), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "registry/wine:1" in done.stdout
    return compiled


@pytest.fixture(scope="module")
def killed(wine: Wine) -> dict[str, Task]:
    """A first run, whose Quantizer dies as soon as it has begun to work."""
    orphans: list[int] = []

    def kill(process: subprocess.Popen[bytes], container: Container) -> None:
        until(lambda: bool(below(process.pid)) or process.poll() is not None)
        orphans.extend(below(process.pid))
        process.kill()

    tasks = wine.run(Quantizer=kill)
    assert orphans
    until(lambda: not any(map(runs, orphans)))
    return tasks


@pytest.fixture(scope="module")
def blessed(wine: Wine, killed: dict[str, Task]) -> dict[str, Task]:
    return wine.run()


def states(tasks: dict[str, Task]) -> dict[str, str]:
    return {name: task.state for name, task in tasks.items()}


def told(task: Task, name: str) -> dict[str, Any]:
    return task.artifacts[name]["metadata"]


def test_a_killed_task_leaves_nothing_for_others(wine: Wine, killed: dict[str, Task]) -> None:
    assert states(killed) == {
        "trained": "succeeded", "examples": "succeeded", "schema": "succeeded", "LiteConverter": "succeeded",
        "Quantizer": "failed", GATE: "omitted", MARKER: "omitted", "Pusher": "omitted",
    }  # fmt: skip
    runs = wine.cluster.store.path("minio://mlpipeline/root/wine")
    assert {path.parent.parent.name for path in runs.glob("*/*/*/edge_model")} == {"LiteConverter"}


def test_the_next_run_does_what_is_missing_and_pushes_the_model(wine: Wine, blessed: dict[str, Task]) -> None:
    logs = {name: task.log.read_text() for name, task in blessed.items() if task.log}
    assert states(blessed) == {
        "trained": "succeeded", "examples": "succeeded", "schema": "succeeded", "LiteConverter": "cached",
        "Quantizer": "succeeded", GATE: "succeeded", MARKER: "succeeded", "Pusher": "succeeded",
    }, logs  # fmt: skip
    assert blessed[GATE].parameters["verdict"] == "blessed"
    assert "INFO tfx_edge: Quantizer: int8" in logs["Quantizer"]
    assert "INFO tfx_edge: EdgeEvaluator: blessed" in logs[GATE]
    assert "EdgeEvaluator-candidate: blessed" in logs[MARKER]
    blessing = told(blessed[GATE], "blessing")
    assert blessing["blessed"] == 1
    assert blessing["current_model"] == blessed["Quantizer"].artifacts["edge_model"]["uri"]
    assert blessing["component_id"] == "EdgeEvaluator.candidate"
    (version,) = wine.versions()
    assert hashlib.sha256((version / "tflite").read_bytes()).hexdigest() == blessing["sha256"]
    assert told(blessed["Quantizer"], "edge_model")["sha256"] == blessing["sha256"]
    assert told(blessed["Pusher"], "pushed_model")["pushed"] == 1


def test_the_report_in_the_store_holds_the_figures(wine: Wine, blessed: dict[str, Task]) -> None:
    report = blessed[GATE].artifacts["report"]
    document = json.loads((wine.cluster.store.path(report["uri"]) / "report.json").read_text())
    assert document["verdict"]["blessed"] is True
    accuracy = document["targets"]["local"]["candidate"]["accuracy"]["value"]
    assert accuracy >= 0.8
    assert report["metadata"]["accuracy"] == accuracy
    assert [step["component"] for step in document["steps"]] == ["LiteConverter", "Quantizer"]
    assert wine.cluster.store.path(blessed[GATE].artifacts["blessing"]["uri"]).joinpath("BLESSED").is_file()


def test_a_bound_that_cannot_be_met_pushes_nothing(wine: Wine, blessed: dict[str, Task]) -> None:
    before = wine.versions()
    tasks = wine.run(("gate-config", '{"thresholds": {"size_bytes": {"max": 1000}}}'))
    assert states(tasks) == {
        "trained": "succeeded", "examples": "succeeded", "schema": "succeeded", "LiteConverter": "cached",
        "Quantizer": "cached", GATE: "succeeded", MARKER: "skipped", "Pusher": "succeeded",
    }  # fmt: skip
    assert tasks[GATE].parameters["verdict"] == "not blessed"
    assert "size_bytes" in tasks[GATE].parameters["reason"]
    assert told(tasks[GATE], "blessing")["blessed"] == 0
    assert told(tasks["Pusher"], "pushed_model")["pushed"] == 0
    assert wine.versions() == before
