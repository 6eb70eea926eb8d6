"""What a task's container runs: artifacts in and out as Kubeflow's launcher hands them over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kfp", reason="the extra 'kubeflow' is not installed")

import kubeflow_pipelines
import kubeflow_tasks
import lite_models
from kubeflow_values import Count, Repeat
from tfx.dsl.components.common.importer import Importer
from tfx.types.standard_artifacts import Examples

from tfx_edge.kubeflow import entrypoint, mounts
from tfx_edge.kubeflow.compiler import Compiled, compile_pipeline
from tfx_edge.lite.bundle import write_bundle
from tfx_edge.lite.inspect import inspect

ROOT = "minio://mlpipeline/wine/run-1"


@pytest.fixture(scope="module")
def wine() -> Compiled:
    rows = Importer(source_uri="gs://bucket/rows", artifact_type=Examples).with_id("rows")
    count = Count(examples=rows.outputs["result"])
    lines = count.outputs["lines"]
    repeat = Repeat(lines=lines, times=lines.future()[0].value)
    return compile_pipeline(kubeflow_pipelines.create_pipeline(extra=[rows, count, repeat]))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where uris of the object store ``minio://`` are mounted."""
    monkeypatch.setenv("TFX_EDGE_MOUNT_ROOT", str(tmp_path / "mounts"))
    folder = tmp_path / "mounts" / "minio"
    folder.mkdir(parents=True)
    return folder


def in_store(store: Path, uri: str) -> Path:
    return store / uri.removeprefix("minio://")


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "output_metadata.json").read_text())


def call(made: Compiled, task: str, given: dict[str, Any]) -> None:
    """Runs the task's command in this process."""
    words = kubeflow_tasks.command(made.spec, task, given)
    assert words[:3] == ["python", "-m", "tfx_edge.kubeflow.entrypoint"]
    entrypoint.main(words[3:])


def test_quantizer_runs_as_its_container_would(wine: Compiled, store: Path, tmp_path: Path) -> None:
    model = f"{ROOT}/LiteConverter-float32/edge_model"
    merged = {"component": "Merger", "result": {"models": [{"uri": str(in_store(store, f"{ROOT}/Trainer/model"))}]}}
    write_bundle(in_store(store, model), lite_models.float32(), [merged], "minio://t", None)
    folder = tmp_path / "launcher"
    task = "Quantizer-dynamic"
    given = kubeflow_tasks.executor_input(wine.spec, task, {"model": model}, ROOT, folder)
    program, *words = kubeflow_tasks.command(wine.spec, task, given)
    assert program == "python"
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=os.environ, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr

    (artifact,) = result(folder)["artifacts"]["edge_model"]["artifacts"]
    assert artifact["uri"] == f"{ROOT}/{task}/edge_model"
    made = inspect(in_store(store, artifact["uri"]) / "Format-Serving" / "tflite")
    assert made.precision == "dynamic int8"
    assert artifact["metadata"]["sha256"] == made.sha256
    assert artifact["metadata"]["component"] == "Quantizer"
    described = json.loads((in_store(store, artifact["uri"]) / "Format-Serving" / "edge.json").read_text())
    assert described["parent_uri"] == model, "a uri, not where it was mounted"
    assert described["steps"][0]["result"]["models"] == [{"uri": f"{ROOT}/Trainer/model"}]
    assert set(result(folder)["artifacts"]) == {"edge_model"}, "executor-logs are the launcher's"


def test_a_gate_tells_its_verdict_as_parameters(wine: Compiled, store: Path, tmp_path: Path) -> None:
    task = "EdgeEvaluator-candidate"
    inputs = {name: f"{ROOT}/nothing/{name}" for name in ("model", "baseline_model", "examples", "transform_graph")}
    config = {"config": '{"thresholds": {"size_bytes": {"max": 1000}}}'}
    given = kubeflow_tasks.executor_input(wine.spec, task, inputs, ROOT, tmp_path / "launcher", **config)
    call(wine, task, given)
    told = result(tmp_path / "launcher")
    assert told["parameterValues"]["verdict"] == "not blessed"
    assert "could not be evaluated" in told["parameterValues"]["reason"]
    (blessing,) = told["artifacts"]["blessing"]["artifacts"]
    assert blessing["metadata"]["blessed"] == 0
    assert blessing["metadata"]["component_id"] == "EdgeEvaluator.candidate"
    assert blessing["metadata"]["current_model"] == inputs["model"], "a uri, not where it was mounted"
    assert [path.name for path in in_store(store, blessing["uri"]).iterdir()] == ["NOT_BLESSED"]


def test_values_pass_from_component_to_component(wine: Compiled, store: Path, tmp_path: Path) -> None:
    examples = f"{ROOT}/examples"
    in_store(store, examples).mkdir(parents=True)
    (in_store(store, examples) / "rows").write_text("abc")
    given = kubeflow_tasks.executor_input(wine.spec, "Count", {"examples": examples}, ROOT, tmp_path / "first")
    call(wine, "Count", given)
    first = result(tmp_path / "first")
    assert first["parameterValues"] == {"lines": 3}, "the one that is passed as a parameter"
    (lines,) = first["artifacts"]["lines"]["artifacts"]

    source = wine.spec["root"]["dag"]["tasks"]["Repeat"]["inputs"]["parameters"]["times"]
    assert source == {"taskOutputParameter": {"producerTask": "Count", "outputParameterKey": "lines"}}
    inputs = {"lines": lines["uri"]}
    given = kubeflow_tasks.executor_input(wine.spec, "Repeat", inputs, ROOT, tmp_path / "second", times=2)
    call(wine, "Repeat", given)
    (copy,) = result(tmp_path / "second")["artifacts"]["copy"]["artifacts"]
    assert in_store(store, copy["uri"]).read_text().count("line") == 6
    assert copy["metadata"]["where"] == copy["uri"]


@pytest.mark.parametrize("runner", ["DirectRunner", "DataflowRunner"])
def test_beam_workers_elsewhere_are_told_uris_and_not_mounts(runner: str, store: Path, tmp_path: Path) -> None:
    def artifact(uri: str, kind: str) -> dict[str, Any]:
        return {"artifacts": [{"uri": uri, "type": {"instanceSchema": f"title: tfx.{kind}\ntype: object\n"}}]}

    uri = f"{ROOT}/examples"
    given = {
        "inputs": {"artifacts": {"examples": artifact(uri, "Examples")}},
        "outputs": {
            "artifacts": {"model": artifact(str(tmp_path / "model"), "Model")},
            "outputFile": str(tmp_path / "output_metadata.json"),
        },
    }
    words = ["--executor_class_path=kubeflow_values.Teller", "--json_serialized_invocation_args", json.dumps(given)]
    entrypoint.main([*words, f"--runner={runner}"])
    (model,) = result(tmp_path)["artifacts"]["model"]["artifacts"]
    assert model["metadata"]["told"] == f"it is {uri if runner == 'DataflowRunner' else in_store(store, uri)}"


def test_an_executor_that_fails_leaves_no_result(wine: Compiled, store: Path, tmp_path: Path) -> None:
    given = kubeflow_tasks.executor_input(wine.spec, "Count", {"examples": f"{ROOT}/none"}, ROOT, tmp_path / "launcher")
    with pytest.raises(FileNotFoundError):
        call(wine, "Count", given)
    assert not (tmp_path / "launcher" / "output_metadata.json").exists()


@pytest.mark.parametrize("uri", ["gs://bucket/a/b", "s3://bucket/a", "minio://mlpipeline/v2/x"])
def test_uris_come_back_from_where_they_are_mounted(uri: str) -> None:
    path = mounts.to_path(uri)
    assert path == f"/{uri.replace('gs://', 'gcs/').replace('://', '/')}"
    assert mounts.to_uri(path) == uri


@pytest.mark.parametrize("text", ["/data/x", "https://host/x", "gcs/bucket", "blessed", ""])
def test_what_is_no_uri_of_a_store_stays_as_it_is(text: str) -> None:
    assert mounts.to_path(text) == mounts.to_uri(text) == text
