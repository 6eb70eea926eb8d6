"""EdgeEvaluator beside TFX's Evaluator, Pusher and Resolver: the snippets of docs/arrangements.md, run."""

from __future__ import annotations

import hashlib
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from wine import HERE, Artifact, Execution, Node, Winery, imported, transformed

pytestmark = pytest.mark.pipeline

PIPELINE = "wine_arrangements"  # of its own, since its Resolvers see what all pipelines of its name made
DOCUMENT = HERE.parents[1] / "docs" / "arrangements.md"
ALONE, BESIDE, RESOLVED, SCOPED = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)

COMBINATIONS = [("yes", "yes"), ("yes", "no"), ("no", "yes"), ("no", "no")]


def wired(snippet: str, **given: Any) -> SimpleNamespace:
    """The names that a snippet of the document defines, from the names that it is given."""
    exec(compile(snippet, DOCUMENT, "exec"), given)
    return SimpleNamespace(**given)


def giving(key: str, importer: Any) -> SimpleNamespace:
    """An Importer in the place of the node that made its artifact."""
    return SimpleNamespace(outputs={key: importer.outputs["result"]})


def transform_of(data: dict[str, Any]) -> SimpleNamespace:
    outputs = {"transformed_examples": data["examples"], "transform_graph": data["transform_graph"]}
    return SimpleNamespace(outputs={key: importer.outputs["result"] for key, importer in outputs.items()})


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def blessed(artifact: Artifact) -> int:
    return artifact.custom_properties["blessed"].int_value


def test_alone_is_what_the_pipeline_of_test_stock_pipeline_has() -> None:
    assert textwrap.indent(ALONE, "    ") in (HERE / "edge" / "pipeline.py").read_text()


def eval_config(least_examples: int) -> Any:
    import tensorflow_model_analysis as tfma

    def at_least(value: float) -> tfma.MetricThreshold:
        return tfma.MetricThreshold(value_threshold=tfma.GenericValueThreshold(lower_bound={"value": value}))

    metrics = [
        tfma.MetricConfig(class_name="SparseCategoricalAccuracy", threshold=at_least(0.8)),
        tfma.MetricConfig(class_name="ExampleCount", threshold=at_least(least_examples)),
    ]
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key="cultivar")],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
        slicing_specs=[tfma.SlicingSpec()],
    )


@pytest.fixture(scope="module")
def beside(winery: Winery, edge: dict[str, Node]) -> dict[tuple[str, str], Node]:
    """The Pushers behind an Evaluator and an EdgeEvaluator, by whether each of these says yes."""
    from tfx.components import Evaluator, Pusher

    from tfx_edge import EdgeEvaluator

    raw = winery.node("CsvExampleGen").outputs["examples"]
    data = transformed(edge)
    examples = imported("raw_examples", raw, "Examples", split_names='["train", "eval"]')
    trained = imported("trained", edge["Trainer"].outputs["model"], "Model")
    int8 = imported("int8", edge["Quantizer"].outputs["edge_model"], "Model")
    wirings = {
        says: wired(
            BESIDE,
            Evaluator=Evaluator,
            EdgeEvaluator=EdgeEvaluator,
            Pusher=Pusher,
            example_gen=giving("examples", examples),
            trainer=giving("model", trained),
            transform=transform_of(data),
            int8=giving("edge_model", int8),
            eval_config=eval_config(least_examples),
            thresholds={"accuracy": {"min": 0.8}, "size_bytes": {"max": max_size}},
            push_destination=winery.push_destination(f"{says}_{says}"),
        )
        for says, least_examples, max_size in (("yes", 10, 20_000), ("no", 1000, 1000))
    }
    for says, wiring in wirings.items():
        wiring.evaluator.with_id(f"Evaluator.{says}")
        wiring.gate.with_id(f"EdgeEvaluator.{says}")
        wiring.pusher.with_id(f"Pusher.{says}_{says}")
    crossed = [
        winery.pusher(
            f"{theirs}_{ours}",
            int8.outputs["result"],
            wirings[theirs].evaluator.outputs["blessing"],
            wirings[ours].gate.outputs["infra_blessing"],
        )
        for theirs, ours in COMBINATIONS
        if theirs != ours
    ]
    nodes = [node for wiring in wirings.values() for node in (wiring.evaluator, wiring.gate, wiring.pusher)]
    winery.run(examples, trained, int8, *data.values(), *nodes, *crossed, name=PIPELINE)
    return {each: winery.node(f"Pusher.{'_'.join(each)}", PIPELINE) for each in COMBINATIONS}


@pytest.mark.parametrize(("theirs", "ours"), COMBINATIONS)
def test_evaluator_and_edge_evaluator_must_both_bless(
    beside: dict[tuple[str, str], Node], winery: Winery, theirs: str, ours: str
) -> None:
    pusher = beside[theirs, ours]
    assert blessed(pusher.inputs["model_blessing"]) == (theirs == "yes")
    assert blessed(pusher.inputs["infra_blessing"]) == (ours == "yes")
    both = theirs == ours == "yes"
    assert pusher.outputs["pushed_model"].custom_properties["pushed"].int_value == both
    assert len(winery.pushed(f"{theirs}_{ours}")) == both


def test_each_blesses_its_own_model_and_the_edge_model_is_pushed(
    beside: dict[tuple[str, str], Node], winery: Winery, edge: dict[str, Node]
) -> None:
    inputs = beside["yes", "yes"].inputs
    judged_by_evaluator = inputs["model_blessing"].custom_properties["current_model_id"].int_value
    assert judged_by_evaluator == edge["Trainer"].outputs["model"].id
    assert inputs["model"].id == edge["Quantizer"].outputs["edge_model"].id
    (pushed,) = winery.pushed("yes_yes")
    assert sha256(pushed / "tflite") == inputs["infra_blessing"].custom_properties["sha256"].string_value


@dataclass(frozen=True)
class Run:
    """What a run of the pipeline that compares with its last blessed model left."""

    model: Artifact
    gate: Node
    pusher: Node

    @property
    def reason(self) -> str:
        return self.gate.outputs["blessing"].custom_properties["reason"].string_value

    @property
    def baseline_id(self) -> int | None:
        baseline = self.gate.inputs.get("baseline_model")
        return None if baseline is None else baseline.id

    @property
    def pushed(self) -> bool:
        return bool(self.pusher.outputs["pushed_model"].custom_properties["pushed"].int_value)


@pytest.fixture(scope="module")
def runs(winery: Winery, edge: dict[str, Node]) -> dict[str, Run]:
    """Runs of one pipeline, one after the other, each with another quantization."""
    from tfx.components import Pusher

    from tfx_edge import EdgeEvaluator, Quantizer

    def run(mode: str, *, first_run: bool = False) -> Run:
        data = transformed(edge)
        transform = transform_of(data)
        float_model = imported("float", edge["LiteConverter"].outputs["edge_model"], "Model")
        quantizer = Quantizer(
            float_model.outputs["result"],
            examples=transform.outputs["transformed_examples"],
            transform_graph=transform.outputs["transform_graph"],
            label_key="cultivar_xf",
            config={"recipe": mode},
        )
        wiring = wired(
            RESOLVED,
            EdgeEvaluator=EdgeEvaluator,
            Pusher=Pusher,
            transform=transform,
            int8=quantizer,
            first_run=first_run,
            push_destination=winery.push_destination("compared"),
        )
        nodes = (float_model, *data.values(), quantizer, wiring.last_blessed, wiring.gate, wiring.pusher)
        winery.run(*nodes, name=PIPELINE)
        left = {each: winery.node(each, PIPELINE) for each in ("Quantizer", "EdgeEvaluator", "Pusher")}
        return Run(left["Quantizer"].outputs["edge_model"], left["EdgeEvaluator"], left["Pusher"])

    return {
        "unstarted": run("float16"),
        "first": run("float16", first_run=True),
        "smaller": run("dynamic_int8"),
        "larger": run("int8"),
    }


def test_without_a_baseline_a_comparison_is_no_reason_to_bless(runs: dict[str, Run]) -> None:
    run = runs["unstarted"]
    assert run.gate.execution.last_known_state == Execution.COMPLETE
    assert run.baseline_id is None
    assert "there is no baseline model" in run.reason
    assert blessed(run.gate.outputs["blessing"]) == 0
    assert not run.pushed


def test_the_first_run_is_judged_by_its_own_limits(runs: dict[str, Run]) -> None:
    run = runs["first"]
    assert run.baseline_id is None
    assert blessed(run.gate.outputs["blessing"]) == 1
    assert run.pushed


def test_the_next_run_is_compared_with_the_model_of_the_first(runs: dict[str, Run]) -> None:
    first, run = runs["first"], runs["smaller"]
    assert run.model.custom_properties["sha256"] != first.model.custom_properties["sha256"]
    assert run.baseline_id == first.model.id
    properties = run.gate.outputs["blessing"].custom_properties
    assert properties["baseline_model_id"].int_value == first.model.id
    assert properties["baseline_model"].string_value == first.model.uri
    assert properties["current_model_id"].int_value == run.model.id
    assert properties["blessed"].int_value == 1
    assert run.pushed


def test_a_model_that_is_worse_than_the_last_is_not_pushed(runs: dict[str, Run], winery: Winery) -> None:
    run = runs["larger"]
    assert run.baseline_id == runs["smaller"].model.id
    assert "size_bytes" in run.reason
    assert not run.pushed
    pushed = [sha256(folder / "tflite") for folder in winery.pushed("compared")]
    assert pushed == [runs[name].model.custom_properties["sha256"].string_value for name in ("first", "smaller")]


def test_resolvers_find_what_their_channels_name(
    runs: dict[str, Run], beside: dict[tuple[str, str], Node], winery: Winery, edge: dict[str, Node]
) -> None:
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
    from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
    from tfx.types import Channel
    from tfx.types.standard_artifacts import Model, ModelBlessing

    names = {
        "Resolver": Resolver,
        "LatestBlessedModelStrategy": LatestBlessedModelStrategy,
        "Channel": Channel,
        "Model": Model,
        "ModelBlessing": ModelBlessing,
    }
    ids = {'"Trainer", output_key="model"': '"import.trained", output_key="result"', '"Evaluator"': '"Evaluator.yes"'}
    snippet = SCOPED
    for written, here in ids.items():
        assert written in snippet
        snippet = snippet.replace(written, here)
    unscoped = Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
    ).with_id("unscoped")
    latest = Resolver(
        strategy_class=LatestArtifactStrategy,
        model=Channel(type=Model, producer_component_id="Quantizer", output_key="edge_model"),
    ).with_id("latest")
    winery.run(wired(snippet, **names).last_trained, unscoped, latest, name=PIPELINE)
    found = {each: winery.node(each, PIPELINE).outputs["model"].id for each in ("last_trained", "unscoped", "latest")}
    assert found == {
        "last_trained": edge["Trainer"].outputs["model"].id,
        "unscoped": runs["smaller"].model.id,
        "latest": runs["larger"].model.id,
    }
