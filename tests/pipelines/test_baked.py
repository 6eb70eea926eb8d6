"""A pipeline whose .tflite takes raw features: Transform's graph runs in it, through int8 to the push destination."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn import datasets
from wine import FEATURES, HERE, Node, Winery

from tfx_edge.devices.local import infer
from tfx_edge.lite.inspect import inspect

pytestmark = pytest.mark.pipeline

PIPELINE = "wine_raw"
REGIONS = ["north", "south", "west"]
RECIPE = {"preset": "int8_float_io", "overrides": [{"layers": "transform/", "precision": "float32"}]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wine data with a column of strings that says something of the class."""
    folder = tmp_path_factory.mktemp("raw")
    wine = datasets.load_wine(as_frame=True).frame
    with (folder / "wine.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*FEATURES, "region", "cultivar"])
        for number, row in wine.iterrows():
            target = int(row["target"])
            region = REGIONS[(target + (number % 5 == 0)) % 3]
            writer.writerow([*(f"{row[name]:.2f}" for name in FEATURES), region, target])
    return folder


@pytest.fixture(scope="module")
def nodes(winery: Winery, data: Path) -> dict[str, Node]:
    from tfx.components import CsvExampleGen, Pusher, SchemaGen, StatisticsGen, Trainer, Transform
    from tfx.proto import trainer_pb2

    from tfx_edge import EdgeEvaluator, LiteConverter, Quantizer

    module = str(HERE / "baked" / "wine_raw.py")
    example_gen = CsvExampleGen(input_base=str(data))
    raw = example_gen.outputs["examples"]
    statistics_gen = StatisticsGen(examples=raw)
    schema_gen = SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True)
    schema = schema_gen.outputs["schema"]
    transform = Transform(examples=raw, schema=schema, module_file=module, disable_statistics=True)
    trainer = Trainer(
        module_file=module,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=trainer_pb2.TrainArgs(num_steps=200),
        eval_args=trainer_pb2.EvalArgs(num_steps=1),
    )
    float_model = LiteConverter(
        model=trainer.outputs["model"],
        transform_graph=transform.outputs["transform_graph"],
        examples=raw,
        schema=schema,
        label_key="cultivar",
    )
    int8 = Quantizer(
        model=float_model.outputs["edge_model"],
        examples=raw,
        schema=schema,
        label_key="cultivar",
        config={"recipe": RECIPE},
    )
    gate = EdgeEvaluator(
        model=int8.outputs["edge_model"],
        baseline_model=float_model.outputs["edge_model"],
        examples=raw,
        schema=schema,
        label_key="cultivar",
        config={"thresholds": {"accuracy": {"min": 0.8, "max_drop": 0.1}}},
    )
    pusher = Pusher(
        model=int8.outputs["edge_model"],
        model_blessing=gate.outputs["blessing"],
        push_destination=winery.push_destination("baked"),
    )
    parts = [example_gen, statistics_gen, schema_gen, transform, trainer, float_model, int8, gate, pusher]
    winery.run(*parts, name=PIPELINE)
    return {name: winery.node(name, PIPELINE) for name in ("LiteConverter", "Quantizer", "EdgeEvaluator", "Pusher")}


def test_the_pushed_model_takes_raw_features_and_not_the_label(nodes: dict[str, Node], winery: Winery) -> None:
    (pushed,) = winery.pushed("baked")
    inputs = {tensor.name: tensor.dtype for tensor in inspect(pushed / "tflite").inputs}
    assert inputs == {**dict.fromkeys(FEATURES, "float32"), "region": "string"}
    assert nodes["EdgeEvaluator"].outputs["blessing"].custom_properties["blessed"].int_value == 1


def test_it_was_compared_with_transform_and_the_model_on_real_examples(nodes: dict[str, Node]) -> None:
    folder = Path(nodes["LiteConverter"].outputs["edge_model"].uri, "Format-Serving")
    (step,) = json.loads((folder / "edge.json").read_text())["steps"]
    assert step["result"]["examples"] == 32
    assert step["result"]["max_output_difference"] < 1e-4


def test_an_app_needs_no_transform(nodes: dict[str, Node], winery: Winery, data: Path) -> None:
    (pushed,) = winery.pushed("baked")
    with (data / "wine.csv").open() as file:
        rows = list(csv.DictReader(file))
    features = {name: np.array([[float(row[name])] for row in rows], np.float32) for name in FEATURES}
    features["region"] = np.array([[row["region"].encode()] for row in rows])
    (outputs,) = infer(pushed / "tflite", [features])
    hits = outputs["score"].argmax(axis=1) == [int(row["cultivar"]) for row in rows]
    assert hits.mean() >= 0.8
