"""Lineage and history of a store that Kubeflow Pipelines wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from forwarding_server import forwarding
from kubeflow_store import Driver
from ml_metadata.proto import metadata_store_pb2 as pb
from test_history import FIGURES
from test_lineage import FINGERPRINT, SHA256

from tfx_edge.errors import ConfigError
from tfx_edge.lineage.history import read
from tfx_edge.lineage.newest import newest_verdict
from tfx_edge.lineage.trace import trace

PUSHED_TO = "s3://bucket/pushed/17"
HASH = 2**62 + 1  # an executor's id of an artifact is a hash of its name


class Run:
    """Tasks of a small pipeline, with what their executors write of the artifacts."""

    def __init__(self, path: Path, run: str = "3f0c7a52-run") -> None:
        self.driver = Driver(path, run=run)
        task = self.driver.task
        told = {"tfx_version": "1.16.0", "is_external": 0}
        examples = {"split_names": '["train", "eval"]', "custom:span": 3, "custom:version": 1,
                    "custom:input_fingerprint": FINGERPRINT, **told}  # fmt: skip
        self.examples = task("ImportExampleGen", {}, {"examples": ("tfx.Examples", examples)})["examples"]
        self.keras = task("Trainer", {"examples": self.examples}, {"model": ("tfx.Model", told)})["model"]
        self.float_model = task("LiteConverter-float32", {"model": self.keras}, {"edge_model": ("tfx.Model", {**told, "sha256": "ab" * 32})})["edge_model"]  # noqa: E501  # fmt: skip
        self.model = task(
            "Quantizer",
            {"model": self.float_model, "examples": self.examples},
            {"edge_model": ("tfx.Model", {"sha256": SHA256, "size_bytes": 26744.0, **told})},
            {"config": '{"recipe": "int8"}', "label_key": "label"},
        )["edge_model"]

    def judge(self, blessed: int = 1, node: str = "EdgeEvaluator-candidate", **inputs: int) -> dict[str, int]:
        inputs = inputs or {"model": self.model, "baseline_model": self.float_model, "examples": self.examples}
        key = "model" if "model" in inputs else "baseline_model"
        judged = self.driver.store.get_artifacts_by_id([inputs[key]])[0]
        stamp = {"blessed": blessed, "reason": "all checks passed", "sha256": SHA256}
        blessing = {**stamp, "current_model": judged.uri, "current_model_id": HASH}
        outputs = {
            "blessing": ("tfx.ModelBlessing", blessing),
            "infra_blessing": ("tfx.InfraBlessing", {**stamp, "has_model": 0}),
            "report": ("tfx_edge.EdgeReport", {**stamp, "is_external": 0, **FIGURES}),
        }
        return self.driver.task(node, inputs, outputs, {"config": '{"thresholds": {}}'})

    def push(self, blessing: int) -> None:
        pushed = {"pushed": 1, "pushed_destination": PUSHED_TO, "pushed_version": "17"}
        inputs = {"model": self.model, "model_blessing": blessing}
        self.driver.task("Pusher", inputs, {"pushed_model": ("tfx.PushedModel", pushed)})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "metadata.db")


def place(run: Run) -> Path:
    return Path(run.driver.config.sqlite.filename_uri)


def test_a_model_leads_to_its_examples_its_verdict_and_its_push(run: Run) -> None:
    run.push(run.judge()["blessing"])
    lineage = trace(SHA256, place(run))
    assert [step.component for step in lineage.steps] == [
        "Quantizer", "LiteConverter-float32", "Trainer", "ImportExampleGen",
    ]  # fmt: skip
    assert lineage.steps[0].recipe == {"recipe": "int8"}
    assert lineage.steps[1].recipe is None
    assert {reference.sha256 for reference in lineage.steps[0].inputs} == {"ab" * 32, None}
    (verdict,) = lineage.verdicts
    assert (verdict.blessed, verdict.reason) == (True, "all checks passed")
    assert verdict.figures == FIGURES
    assert verdict.execution.component == "EdgeEvaluator-candidate"
    assert [(push.destination, push.version) for push in lineage.pushed] == [(PUSHED_TO, "17")]
    (examples,) = lineage.examples
    assert (examples.span, examples.version, examples.split_names) == (3, 1, ("train", "eval"))
    assert examples.input_fingerprint == FINGERPRINT


def test_a_verdict_is_asked_for_at_the_server_and_not_at_its_store(run: Run) -> None:
    run.judge()
    with pytest.raises(ConfigError, match=r"the store is Kubeflow's, .* 'tfx-edge kubeflow follow RUN'"):
        newest_verdict(place(run))


def test_serving_as_a_baseline_is_no_verdict_but_being_its_own_baseline_is(run: Run) -> None:
    run.judge(model=run.float_model, baseline_model=run.model)
    assert trace(SHA256, place(run)).verdicts == ()
    run.judge(baseline_model=run.model)  # the store keeps one event where a model was given as both
    assert len(trace(SHA256, place(run)).verdicts) == 1


def test_a_task_that_took_its_outputs_from_the_cache_did_not_make_them(run: Run) -> None:
    made = run.judge()
    again = Run.__new__(Run)
    again.driver = Driver(place(run), run="second-run")
    again.driver.cached_task("Quantizer", {"model": run.float_model}, {"edge_model": run.model})
    again.driver.cached_task("EdgeEvaluator-candidate", {"model": run.model}, made)
    assert [step.component for step in trace(SHA256, place(run)).steps].count("Quantizer") == 1
    assert [entry.run for entry in read(place(run))] == ["3f0c7a52-run"]


def test_a_task_that_failed_counts_neither_as_verdict_nor_as_push(run: Run) -> None:
    failed: Any = pb.Execution.FAILED
    made = run.judge(blessed=0)
    run.driver.task("EdgeEvaluator-candidate", {"model": run.model}, {}, state=failed)
    run.driver.task("Pusher", {"model": run.model, "model_blessing": made["blessing"]}, {}, state=failed)
    lineage = trace(SHA256, place(run))
    assert [verdict.blessed for verdict in lineage.verdicts] == [False]
    assert lineage.pushed == ()


def test_history_tells_pipeline_run_and_task(run: Run) -> None:
    run.judge()
    run.judge(blessed=0, node="EdgeEvaluator-float32", model=run.float_model)
    first, second = read(place(run))
    assert (first.pipeline, first.run, first.node) == ("digits", "3f0c7a52-run", "EdgeEvaluator-candidate")
    assert (first.blessed, second.blessed) == (True, False)
    assert first.figures == FIGURES
    assert [entry.node for entry in read(place(run), ["float32"])] == ["EdgeEvaluator-float32"]


def test_the_server_that_kubeflow_runs_tells_the_same(run: Run) -> None:
    run.push(run.judge()["blessing"])
    with forwarding(run.driver.config) as url:
        assert trace(SHA256, url) == trace(SHA256, place(run))
        assert read(url) == read(place(run))
