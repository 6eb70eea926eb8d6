"""Bad input met while a pipeline runs: one clear error, a failed execution, and nothing half-written."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wine import LABEL_KEY, Execution, Node, Winery, channels, imported, transformed

from tfx_edge.errors import ConfigError, DataError, EdgeError, ModelError

pytestmark = pytest.mark.pipeline

GATE = {"thresholds": {"accuracy": {"min": 0.5}}}


@contextlib.contextmanager
def fails(winery: Winery, node_id: str, error: type[EdgeError]) -> Iterator[list[str]]:
    """Expects the node to fail with this error and to leave nothing behind; the message is put into the list."""
    message: list[str] = []
    with pytest.raises(error) as caught:
        yield message
    message.append(str(caught.value))
    assert message[0].startswith(f"{node_id.partition('.')[0]}: ")
    assert "\n" not in message[0], "one error, not a traceback"
    node = winery.node(node_id)
    assert node.execution.last_known_state == Execution.FAILED
    assert node.outputs == {}
    folder = winery.artifacts / node_id
    assert winery.live_below(folder) == []
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert not list(folder.glob(f"*/{node.execution.id}"))


def test_a_label_that_the_examples_lack(winery: Winery, edge: dict[str, Node]) -> None:
    from tfx_edge import Pruner

    data = transformed(edge)
    model = imported("model", edge["Trainer"].outputs["model"], "Model")
    pruner = Pruner(model.outputs["result"], **channels(data), label_key="grade").with_id("Pruner.label")
    with fails(winery, "Pruner.label", DataError) as message:
        winery.run(model, *data.values(), pruner)
    assert "label_key 'grade' is not a feature of the examples" in message[0]
    assert LABEL_KEY in message[0]


def test_a_model_that_only_serves_strings(winery: Winery, stock: dict[str, Node]) -> None:
    from tfx_edge import LiteConverter

    model = imported("strings", stock["Trainer"].outputs["model"], "Model")
    converter = LiteConverter(model.outputs["result"]).with_id("LiteConverter.strings")
    with fails(winery, "LiteConverter.strings", ModelError) as message:
        winery.run(model, converter)
    for part in (stock["Trainer"].outputs["model"].uri, "tf.Example", "save_trainable(model, fn_args)"):
        assert part in message[0]


def test_a_runtime_parameter_that_is_wrong(winery: Winery, edge: dict[str, Node]) -> None:
    from tfx.orchestration.data_types import RuntimeParameter

    from tfx_edge import LiteConverter

    model = imported("model", edge["Trainer"].outputs["model"], "Model")
    config = RuntimeParameter(name="conversion", ptype=str, default='{"batch": 4}')
    converter = LiteConverter(model.outputs["result"], config=config).with_id("LiteConverter.parameter")
    with fails(winery, "LiteConverter.parameter", ConfigError) as message:
        winery.run(model, converter)
    assert "unknown key 'batch' (value 4)" in message[0]
    assert "batch_size" in message[0]


def test_a_layer_that_cannot_be_carried_over(winery: Winery, edge: dict[str, Node], tmp_path: Path) -> None:
    import keras

    from tfx_edge import Pruner, save_trainable

    class Gated(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x * keras.ops.sigmoid(x)

    inputs = [keras.Input((1,), name=f"{name}_xf") for name in ("alcohol", "hue")]
    hidden = Gated(name="gate")(keras.layers.concatenate(inputs))
    save_trainable(keras.Model(inputs, keras.layers.Dense(3)(hidden)), FnArgs(tmp_path))
    data = transformed(edge)
    model = imported("custom", tmp_path, "Model")
    pruner = Pruner(model.outputs["result"], **channels(data), label_key=LABEL_KEY).with_id("Pruner.custom")
    with fails(winery, "Pruner.custom", ModelError) as message:
        winery.run(model, *data.values(), pruner)
    for part in ("layer 'gate' (Gated)", "build_model_fn"):
        assert part in message[0]


class FnArgs:
    """What `save_trainable` needs of a Trainer's arguments."""

    def __init__(self, model: Path) -> None:
        self.serving_model_dir = str(model / "Format-Serving")


@pytest.fixture(scope="module")
def judged(winery: Winery, edge: dict[str, Node], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Three candidates that cannot be blessed, with a Pusher behind each; the reasons in their reports."""
    from tfx_edge import EdgeEvaluator, LiteConverter

    scratch = tmp_path_factory.mktemp("unfit")
    data = transformed(edge)
    broken = imported("nan", broken_model(Path(edge["Trainer"].outputs["model"].uri), scratch / "nan"), "Model")
    converter = LiteConverter(broken.outputs["result"]).with_id("LiteConverter.nan")
    sound = imported("sound", edge["Quantizer"].outputs["edge_model"], "Model")
    examples = Path(edge["Transform"].outputs["transformed_examples"].uri)
    empty = imported("empty", without_eval(examples, scratch / "empty"), "Examples", split_names='["train", "eval"]')
    absent = imported("absent", examples, "Examples", split_names='["train"]')
    graph = data["transform_graph"].outputs["result"]
    gates = {}
    for name, model, judged_on in (
        ("nan", converter.outputs["edge_model"], data["examples"]),
        ("empty", sound.outputs["result"], empty),
        ("absent", sound.outputs["result"], absent),
    ):
        gates[name] = EdgeEvaluator(
            model, judged_on.outputs["result"], transform_graph=graph, label_key=LABEL_KEY, config=GATE
        ).with_id(f"EdgeEvaluator.{name}")
    pushers = [
        winery.pusher(name, converter.outputs["edge_model"] if name == "nan" else sound.outputs["result"],
                      gate.outputs["blessing"])
        for name, gate in gates.items()
    ]  # fmt: skip
    winery.run(*data.values(), broken, sound, empty, absent, converter, *gates.values(), *pushers)
    reasons = {}
    for name in gates:
        outputs = winery.node(f"EdgeEvaluator.{name}").outputs
        assert outputs["blessing"].custom_properties["blessed"].int_value == 0
        assert outputs["infra_blessing"].custom_properties["blessed"].int_value == 0
        assert [path.name for path in Path(outputs["blessing"].uri).iterdir()] == ["NOT_BLESSED"]
        reasons[name] = outputs["blessing"].custom_properties["reason"].string_value
        report = json.loads((Path(outputs["report"].uri) / "report.json").read_text())
        assert report["verdict"]["blessed"] is False
    return reasons


def broken_model(trained: Path, target: Path) -> Path:
    """A Trainer's model whose last bias is NaN, as after a training that diverged."""
    import keras
    import numpy as np

    from tfx_edge import save_trainable

    model = keras.saving.load_model(trained / "Format-Keras" / "model.keras", compile=False)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, np.full_like(bias, np.nan)])
    save_trainable(model, FnArgs(target))
    return target


def without_eval(examples: Path, target: Path) -> Path:
    """The examples with an eval split of no records, as ExampleGen writes one."""
    shutil.copytree(examples, target)
    for path in (target / "Split-eval").iterdir():
        path.write_bytes(gzip.compress(b""))
    return target


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("nan", ["rows of outputs hold NaN or infinity", "the model's output is broken"]),
        ("empty", ["there are no examples to score"]),
        ("absent", ["no split 'eval'"]),
    ],
)
def test_a_model_that_cannot_be_judged_is_not_blessed_and_not_pushed(
    judged: dict[str, str], winery: Winery, name: str, parts: list[str]
) -> None:
    for part in parts:
        assert part in judged[name]
    assert winery.pushed(name) == []
    pushed = winery.node(f"Pusher.{name}").outputs["pushed_model"]
    assert pushed.custom_properties["pushed"].int_value == 0
