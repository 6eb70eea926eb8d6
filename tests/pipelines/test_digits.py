"""The digits pipeline under LocalDagRunner: what it leaves in ML Metadata and in the push destination."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import ml_metadata
import pytest
from conftest import DemoRun
from ml_metadata.proto import metadata_store_pb2

from tfx_edge.lineage.trace import trace
from tfx_edge.lite.inspect import inspect

pytestmark = pytest.mark.pipeline


def artifacts(run: DemoRun, type_name: str) -> list[metadata_store_pb2.Artifact]:
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(run.metadata)
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    return list(ml_metadata.MetadataStore(config).get_artifacts_by_type(type_name))


def test_a_limit_that_no_model_meets_blocks_the_push(blocked: DemoRun) -> None:
    assert blocked.status == 1, blocked.stderr
    assert "nothing was pushed" in blocked.stdout
    assert "not blessed: size_bytes" in blocked.stdout
    (pushed_model, *_) = sorted(artifacts(blocked, "PushedModel"), key=lambda artifact: artifact.id)
    assert pushed_model.custom_properties["pushed"].int_value == 0


def test_a_model_that_meets_the_limits_is_pushed(pushed: DemoRun) -> None:
    assert pushed.status == 0, pushed.stderr
    (file,) = pushed.pushed
    assert str(file) in pushed.stdout
    described = json.loads(file.with_name("edge.json").read_text())
    assert described["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert [step["component"] for step in described["steps"]] == ["Distiller", "Pruner", "Quantizer", "LiteConverter"]


def test_the_pushed_file_is_what_its_recipes_say(pushed: DemoRun) -> None:
    model = inspect(pushed.pushed[0])
    assert model.precision == "int8"
    assert not model.float_ops
    assert not model.flex_ops
    assert [tensor.dtype for tensor in (*model.inputs, *model.outputs)] == ["int8", "int8"]
    assert model.sparsity > 0.4


def test_blessings_are_written_as_pusher_and_infra_validator_expect_them(pushed: DemoRun) -> None:
    digest = hashlib.sha256(pushed.pushed[0].read_bytes()).hexdigest()
    for type_name, count in (("ModelBlessing", 2), ("InfraBlessing", 2)):
        found = [
            artifact
            for artifact in artifacts(pushed, type_name)
            if artifact.custom_properties["sha256"].string_value == digest
        ]
        assert len(found) == count
        assert sorted(artifact.custom_properties["blessed"].int_value for artifact in found) == [0, 1]
        assert all(artifact.custom_properties["reason"].string_value for artifact in found)


def test_lineage_reaches_from_the_pushed_file_to_the_examples(pushed: DemoRun) -> None:
    lineage = trace(str(pushed.pushed[0]), pushed.metadata)
    made_by = [step.component for step in lineage.steps]
    for component in (
        "LiteConverter.int8",
        "Quantizer.qat",
        "Pruner",
        "Distiller",
        "Trainer",
        "Transform",
        "ImportExampleGen",
    ):
        assert component in made_by
    assert any(verdict.blessed for verdict in lineage.verdicts)
    assert lineage.examples[0].input_fingerprint


def test_the_command_line_prints_the_lineage(pushed: DemoRun) -> None:
    command = [sys.executable, "-m", "tfx_edge.cli", "lineage", str(pushed.pushed[0]), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["sha256"] == hashlib.sha256(pushed.pushed[0].read_bytes()).hexdigest()
