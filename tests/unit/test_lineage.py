"""Lineage, read from real SQLite stores with the types, events and contexts that TFX writes."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import ml_metadata
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_edge.errors import ConfigError, ModelError
from tfx_edge.lineage.connection import find_metadata
from tfx_edge.lineage.render import to_json, to_text
from tfx_edge.lineage.trace import trace

CONTENT = b"a small model"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PARENT = "ab" * 32
FINGERPRINT = "split:single_split,num_files:1,total_bytes:558867"
TYPES = {
    "ImportExampleGen": "tfx.components.example_gen.import_example_gen.component.ImportExampleGen",
    "Transform": "tfx.components.transform.component.Transform",
    "Trainer": "tfx.components.trainer.component.Trainer",
    "Pruner": "tfx_edge.pruner.component.Pruner",
    "LiteConverter": "tfx_edge.lite_converter.component.LiteConverter",
    "EdgeEvaluator": "tfx_edge.edge_evaluator.component.EdgeEvaluator",
    "Pusher": "tfx.components.pusher.component.Pusher",
}


class Writer:
    """Writes a store as TFX's driver and launcher do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self.store = ml_metadata.MetadataStore(config)

    def artifact(self, kind: str, uri: str = "/root/x", **properties: str | int | float) -> int:
        kind_id = self.store.put_artifact_type(pb.ArtifactType(name=kind))
        artifact = pb.Artifact(type_id=kind_id, uri=uri, state=pb.Artifact.LIVE)
        _set(artifact.custom_properties, properties)
        return self.store.put_artifacts([artifact])[0]

    def execution(
        self,
        node: str,
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
        state: pb.Execution.State.ValueType = pb.Execution.COMPLETE,
        output_event: pb.Event.Type.ValueType = pb.Event.OUTPUT,
        pipeline: str = "digits",
        **properties: str | int | float,
    ) -> int:
        kind = pb.ExecutionType(name=TYPES[node.partition(".")[0]])
        execution = pb.Execution(type_id=self.store.put_execution_type(kind), last_known_state=state)
        _set(execution.custom_properties, properties)
        events = []
        for artifacts, event_type in ((inputs, pb.Event.INPUT), (outputs, output_event)):
            for key, artifact_id in artifacts.items():
                steps = [pb.Event.Path.Step(key=key), pb.Event.Path.Step(index=0)]
                events.append(pb.Event(artifact_id=artifact_id, type=event_type, path=pb.Event.Path(steps=steps)))
        execution_id = self.store.put_executions([execution])[0]
        for event in events:
            event.execution_id = execution_id
        self.store.put_events(events)
        contexts = [self._context("pipeline", pipeline), self._context("node", f"{pipeline}.{node}")]
        self.store.put_attributions_and_associations(
            [], [pb.Association(execution_id=execution_id, context_id=context) for context in contexts]
        )
        return execution_id

    def _context(self, kind: str, name: str) -> int:
        known = self.store.get_context_by_type_and_name(kind, name)
        if known:
            return known.id
        type_id = self.store.put_context_type(pb.ContextType(name=kind))
        return self.store.put_contexts([pb.Context(type_id=type_id, name=name)])[0]


def _set(target: Mapping[str, pb.Value], properties: Mapping[str, str | int | float]) -> None:
    for name, value in properties.items():
        if isinstance(value, str):
            target[name].string_value = value
        elif isinstance(value, int):
            target[name].int_value = value
        else:
            target[name].double_value = value


class Digits:
    """A store with one run of a pipeline up to, and not including, the push; and the file that would be pushed."""

    def __init__(self, root: Path) -> None:
        self.writer = Writer(root / "metadata" / "metadata.db")
        self.database = self.writer.path
        self.file = root / "pushed" / "17" / "tflite"
        self.file.parent.mkdir(parents=True)
        self.file.write_bytes(CONTENT)
        add, run = self.writer.artifact, self.writer.execution
        splits = '["train", "eval"]'
        self.examples = add("Examples", "/root/e", span=3, version=1, split_names=splits, input_fingerprint=FINGERPRINT)
        run("ImportExampleGen", {}, {"examples": self.examples})
        self.graph = add("TransformGraph", "/root/graph")
        self.transformed = add("Examples", "/root/transformed", split_names=splits)
        run(
            "Transform",
            {"examples": self.examples},
            {"transform_graph": self.graph, "transformed_examples": self.transformed},
        )
        data = {"examples": self.transformed, "transform_graph": self.graph}
        self.float_model = add("Model", "/root/float")
        run("Trainer", data, {"model": self.float_model}, config="not JSON")
        self.pruned = add("Model", "/root/pruned", sha256=PARENT)
        run(
            "Pruner",
            {"model": self.float_model, **data},
            {"edge_model": self.pruned},
            config='{"final_sparsity": 0.5}',
        )
        self.model = add("Model", "/root/lite", sha256=SHA256)
        self.converted = run(
            "LiteConverter", {"model": self.pruned}, {"edge_model": self.model}, config='{"io_dtype": "int8"}'
        )

    def judge(self, blessed: bool, key: str = "model") -> int:
        other = {} if key == "model" else {"model": self.pruned}
        blessing = self.writer.artifact("ModelBlessing", blessed=int(blessed), reason="all 2 thresholds met")
        report = self.writer.artifact("tfx_edge.EdgeReport", accuracy=0.97, size_bytes=21504.0, blessed=int(blessed))
        outputs = {"blessing": blessing, "report": report}
        return self.writer.execution("EdgeEvaluator.candidate", {key: self.model, **other}, outputs)

    def push(self, model: int, destination: Path | None = None, pushed: int = 1) -> int:
        place = {"pushed_destination": str(destination or self.file.parent), "pushed_version": "17"} if pushed else {}
        artifact = self.writer.artifact("PushedModel", "/root/push", pushed=pushed, **place)
        return self.writer.execution("Pusher", {"model": model}, {"pushed_model": artifact})


@pytest.fixture
def digits(tmp_path: Path) -> Digits:
    return Digits(tmp_path)


def test_a_pushed_file_leads_to_its_examples(digits: Digits) -> None:
    judged = digits.judge(True)
    pusher = digits.push(digits.model)
    lineage = trace(str(digits.file), digits.database)
    assert lineage.sha256 == SHA256
    assert lineage.file == str(digits.file)
    assert [step.component for step in lineage.steps] == [
        "LiteConverter", "Pruner", "Trainer", "Transform", "ImportExampleGen",
    ]  # fmt: skip
    assert [step.recipe for step in lineage.steps] == [{"io_dtype": "int8"}, {"final_sparsity": 0.5}, None, None, None]
    assert [each.sha256 for each in lineage.steps[0].inputs] == [PARENT]
    assert all(step.started <= (step.finished or "") and step.started.endswith("+00:00") for step in lineage.steps)
    (verdict,) = lineage.verdicts
    assert (verdict.blessed, verdict.reason) == (True, "all 2 thresholds met")
    assert verdict.figures == {"accuracy": 0.97, "size_bytes": 21504.0}
    assert (verdict.execution.execution_id, verdict.execution.component) == (judged, "EdgeEvaluator.candidate")
    (push,) = lineage.pushed
    assert (push.destination, push.version) == (str(digits.file.parent), "17")
    assert push.execution.execution_id == pusher
    (examples,) = lineage.examples
    assert (examples.uri, examples.span, examples.version) == ("/root/e", 3, 1)
    assert (examples.split_names, examples.input_fingerprint) == (("train", "eval"), FINGERPRINT)


@pytest.mark.parametrize("length", [8, 63, 64])
def test_a_sha256_or_its_beginning_is_as_good_as_the_file(digits: Digits, length: int) -> None:
    digits.push(digits.model)
    by_hash = trace(SHA256[:length].upper(), digits.database)
    by_folder = trace(str(digits.file.parent), digits.database)
    assert by_hash.file is None
    assert by_hash.sha256 == SHA256
    assert by_hash.steps == by_folder.steps
    assert by_folder.file == str(digits.file)


def test_a_beginning_that_two_models_share_is_refused(digits: Digits) -> None:
    twin = SHA256[:10] + "0" * 54
    digits.writer.artifact("Model", sha256=twin)
    with pytest.raises(ModelError, match=f"{SHA256[:9]}.*several.*more digits") as error:
        trace(SHA256[:9], digits.database)
    assert twin in str(error.value)
    assert SHA256 in str(error.value)


def test_a_changed_file_is_unknown(digits: Digits) -> None:
    digits.file.write_bytes(CONTENT + b"!")
    with pytest.raises(ModelError, match="changed after the push, or made by another store"):
        trace(str(digits.file), digits.database)


@pytest.mark.parametrize(("target", "message"), [("f" * 64, "no model in"), (SHA256[:7], "no SHA-256"), ("a/b", "a/b")])
def test_an_unknown_target_is_refused(digits: Digits, target: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        trace(target, digits.database)


def test_a_refused_push_is_no_push(digits: Digits) -> None:
    digits.judge(False)
    digits.push(digits.model, pushed=0)
    lineage = trace(SHA256, digits.database)
    assert lineage.pushed == ()
    assert [verdict.blessed for verdict in lineage.verdicts] == [False]
    assert "NOT blessed" in to_text(lineage)
    assert "never" in to_text(lineage)


def test_serving_as_a_baseline_is_no_verdict(digits: Digits) -> None:
    digits.judge(True, key="baseline_model")
    assert trace(SHA256, digits.database).verdicts == ()


def test_a_verdict_on_a_model_that_was_its_own_baseline_counts(digits: Digits) -> None:
    """ML Metadata then keeps one event for the two inputs."""
    blessing = digits.writer.artifact("ModelBlessing", blessed=1, reason="equal", current_model_id=digits.model)
    digits.writer.execution("EdgeEvaluator.candidate", {"baseline_model": digits.model}, {"blessing": blessing})
    digits.push(digits.model)
    assert [verdict.reason for verdict in trace(str(digits.file), digits.database).verdicts] == ["equal"]


def test_the_pushed_model_is_preferred_to_a_newer_one_of_equal_content(digits: Digits) -> None:
    newer = digits.writer.artifact("Model", sha256=SHA256)
    digits.writer.execution("LiteConverter", {"model": digits.pruned}, {"edge_model": newer})
    assert trace(SHA256, digits.database).model.id == newer
    digits.push(digits.model)
    assert trace(SHA256, digits.database).model.id == digits.model
    digits.push(newer, digits.file.parent.parent / "18")
    assert trace(SHA256, digits.database).model.id == newer
    assert trace(str(digits.file), digits.database).model.id == digits.model


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (pb.Execution.CACHED, pb.Event.OUTPUT),
        (pb.Execution.COMPLETE, pb.Event.OUTPUT),
        (pb.Execution.COMPLETE, pb.Event.INTERNAL_OUTPUT),
    ],
)
def test_the_first_to_output_an_artifact_is_its_maker(
    digits: Digits, state: pb.Execution.State.ValueType, event: pb.Event.Type.ValueType
) -> None:
    digits.writer.execution("LiteConverter", {"model": digits.pruned}, {"edge_model": digits.model}, state, event)
    made_by = [step.execution_id for step in trace(SHA256, digits.database).steps if step.component == "LiteConverter"]
    assert made_by == [digits.converted]


def test_an_execution_that_failed_first_is_not_the_maker(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "metadata.db")
    model = writer.artifact("Model", sha256=SHA256)
    writer.execution("LiteConverter", {}, {"edge_model": model}, pb.Execution.FAILED)
    made = writer.execution("LiteConverter", {}, {"edge_model": model})
    assert [step.execution_id for step in trace(SHA256, writer.path).steps] == [made]


def test_a_cycle_ends(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "metadata.db")
    first, second = (writer.artifact("Model", sha256=digest) for digest in (SHA256, PARENT))
    writer.execution("Pruner", {"model": second}, {"edge_model": first})
    writer.execution("Pruner", {"model": first}, {"edge_model": second})
    assert sorted(step.execution_id for step in trace(SHA256, writer.path).steps) == [1, 2]


def test_the_store_is_not_written(digits: Digits) -> None:
    digits.push(digits.model)
    before = digits.database.read_bytes()
    trace(SHA256, digits.database)
    assert digits.database.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"no database at all" * 100])
def test_what_is_no_store_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"other\.db.*--metadata"):
        trace(SHA256, path)
    assert path.exists() == (content is not None)


def test_text_tells_the_chain_in_order_and_json_all_of_it(digits: Digits) -> None:
    digits.judge(True)
    digits.push(digits.model)
    lineage = trace(str(digits.file), digits.database)
    text = to_text(lineage)
    told = [
        str(digits.file), SHA256, "Pusher (execution 7)", "blessed by EdgeEvaluator.candidate (execution 6)", "0.97",
        "21,504", "LiteConverter (execution 5)", '{"io_dtype": "int8"}', "Pruner (execution 4)",
        '{"final_sparsity": 0.5}', "Trainer (execution 3)", "/root/float", "Transform (execution 2)", "/root/graph",
        "examples /root/e", "span         3", FINGERPRINT,
    ]  # fmt: skip
    assert re.search(".*".join(map(re.escape, told)), text, re.DOTALL)
    document = json.loads(to_json(lineage))
    assert document["verdicts"][0]["figures"]["accuracy"] == 0.97
    assert [step["execution_id"] for step in document["steps"]] == [5, 4, 3, 2, 1]
    assert document["examples"][0]["input_fingerprint"] == FINGERPRINT


def test_names_in_the_store_cannot_steer_the_terminal(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "metadata.db")
    writer.artifact("Model", "/root/\x1b[31m\nx", sha256=SHA256)
    text = to_text(trace(SHA256, writer.path))
    assert "/root/\ufffd[31m\ufffdx" in text


@pytest.mark.parametrize("name", ["metadata.db", "metadata.sqlite", "metadata/metadata.db", "metadata/p/metadata.db"])
def test_the_nearest_store_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("TFX_EDGE_METADATA", raising=False)
    inner = tmp_path / "outer" / "inner"
    pushed = inner / "pushed" / "1"
    pushed.mkdir(parents=True)
    for folder in (tmp_path, inner):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    monkeypatch.chdir(tmp_path / "outer")
    assert find_metadata(None) == tmp_path / name
    assert find_metadata(None, pushed) == inner / name


def test_a_named_store_wins_over_the_environment_and_that_over_a_near_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, variable, near = (tmp_path / name for name in ("named.db", "variable.db", "metadata.db"))
    for path in (named, variable, near):
        path.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFX_EDGE_METADATA", str(variable))
    assert find_metadata(None) == variable
    assert find_metadata(named) == named


def test_no_store_or_several_name_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TFX_EDGE_METADATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="--metadata"):
        find_metadata(None)
    with pytest.raises(ConfigError, match=r"--metadata.*absent\.db"):
        find_metadata(tmp_path / "absent.db")
    for name in ("metadata.db", "metadata.sqlite"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"several.*metadata\.db.*metadata\.sqlite.*--metadata"):
        find_metadata(None)


def test_tracing_imports_neither_tfx_nor_tensorflow() -> None:
    code = "import sys, tfx_edge.lineage.render; print(sorted({'tfx', 'tensorflow', 'keras'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
