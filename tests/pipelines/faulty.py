"""Pipelines that are killed: each runs in a forked process, and something in it dies where a test says."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import ready
from tfx.components import Pusher
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts

from tfx_edge import EdgeEvaluator, Pruner, Quantizer

FAULTS = Path(__file__).parent / "faults"
RUNNER = "the runner itself"


def run(pipeline: str, root: str, data: str, fault: dict[str, Any] | None, config: dict[str, Any]) -> None:
    """Runs a pipeline of this module under LocalDagRunner with its store in SQLite.

    Args:
      pipeline: the name of the function that makes its nodes.
      root: where it keeps everything.
      data: where `ready.make` wrote.
      fault: what dies and when, as ``faults/sitecustomize.py`` takes it; ``RUNNER`` as the program is this process.
      config: of the component that the test is about.
    """
    sys.argv[1:] = []
    sys.path.insert(0, str(FAULTS))  # stages give their processes this path
    if fault and fault["program"] == RUNNER:
        spec = importlib.util.spec_from_file_location("faults", FAULTS / "sitecustomize.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.install(fault)
    elif fault:
        os.environ["FAULT"] = json.dumps(fault)
    components = globals()[pipeline](Path(root), Path(data), config)
    LocalDagRunner().run(
        Pipeline(
            pipeline_name="faulty",
            pipeline_root=str(Path(root, "artifacts")),
            metadata_connection_config=metadata.sqlite_metadata_connection_config(str(Path(root, "metadata.db"))),
            components=components,
            enable_cache=True,
            beam_pipeline_args=["--runner=apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"],
        )
    )


def shipping(root: Path, data: Path, config: dict[str, Any]) -> list[Any]:
    """Quantizer, EdgeEvaluator with this configuration, Pusher."""
    lite, examples, schema = _imported(data, "lite")
    int8 = Quantizer(model=lite.outputs["result"], config={"recipe": "dynamic_int8"})
    gate = EdgeEvaluator(
        model=int8.outputs["edge_model"],
        examples=examples.outputs["result"],
        schema=schema.outputs["result"],
        label_key=ready.LABEL_KEY,
        config=config,
    )
    filesystem = pusher_pb2.PushDestination.Filesystem(base_directory=str(root / "pushed"))
    pusher = Pusher(
        model=int8.outputs["edge_model"],
        model_blessing=gate.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(filesystem=filesystem),
    )
    return [lite, examples, schema, int8, gate, pusher]


def training(root: Path, data: Path, config: dict[str, Any]) -> list[Any]:
    """Pruner with this configuration."""
    model, examples, schema = _imported(data, "model")
    pruner = Pruner(
        model=model.outputs["result"],
        examples=examples.outputs["result"],
        schema=schema.outputs["result"],
        label_key=ready.LABEL_KEY,
        config=config,
    )
    return [model, examples, schema, pruner]


def _imported(data: Path, model: str) -> list[Any]:
    kinds = {model: "Model", "examples": "Examples", "schema": "Schema"}
    return [
        Importer(
            source_uri=str(data / name),
            artifact_type=getattr(standard_artifacts, kind),
            properties={"split_names": ready.SPLITS} if name == "examples" else None,
        ).with_id(f"import.{name}")
        for name, kind in kinds.items()
    ]
