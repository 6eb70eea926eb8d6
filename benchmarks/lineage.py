"""How long lineage and history take on a store of ML Metadata with many executions.

Fills a store with runs of one pipeline of ten nodes, with what TFX records of each: a model chain of five, two gates
and a push. Then it asks for one chain and for the history, in a new connection each time, as the commands do.

    python benchmarks/lineage.py [STORE] [--executions 10000]

STORE is a SQLite file, made when it is not there, or the URL of an empty database of a server (docs/lineage.md). A
store that has executions is measured as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_metadata
from ml_metadata.proto import metadata_store_pb2

from tfx_edge.lineage.connection import Place, connection_config, is_url
from tfx_edge.lineage.history import read
from tfx_edge.lineage.trace import trace

pb: Any = metadata_store_pb2
PIPELINE = "benchmark"
RUNS_AT_ONCE = 50
FINGERPRINT = "split:single_split,num_files:1,total_bytes:558867,xor_checksum:1,sum_checksum:1"
CONFIG = '{"recipe": {"preset": "int8", "overrides": [{"layers": "^conv_1/", "precision": "float32"}]}, "epochs": 5}'
REPORT = ("accuracy", "gzip_bytes", "latency_min_ms", "latency_p50_ms", "peak_memory_bytes", "size_bytes")


@dataclass(frozen=True)
class Node:
    """A node of the pipeline: its id, its type, and the artifact types of its outputs; inputs as ``node.output``."""

    name: str
    kind: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


DATA = {"examples": "Transform.transformed_examples", "transform_graph": "Transform.transform_graph"}
GATE = {"blessing": "ModelBlessing", "infra_blessing": "InfraBlessing", "report": "tfx_edge.EdgeReport"}
NODES = (
    Node("ImportExampleGen", "tfx.components.ImportExampleGen", {}, {"examples": "Examples"}),
    Node(
        "Transform",
        "tfx.components.Transform",
        {"examples": "ImportExampleGen.examples"},
        {"transform_graph": "TransformGraph", "transformed_examples": "Examples"},
    ),
    Node("Trainer", "tfx.components.Trainer", DATA, {"model": "Model", "model_run": "ModelRun"}),
    Node("LiteConverter.float32", "tfx_edge.LiteConverter", {"model": "Trainer.model"}, {"edge_model": "Model"}),
    Node("Pruner", "tfx_edge.Pruner", {"model": "Trainer.model", **DATA}, {"edge_model": "Model"}),
    Node("LiteConverter", "tfx_edge.LiteConverter", {"model": "Pruner.edge_model"}, {"edge_model": "Model"}),
    Node("Quantizer", "tfx_edge.Quantizer", {"model": "LiteConverter.edge_model", **DATA}, {"edge_model": "Model"}),
    Node(
        "EdgeEvaluator.float32", "tfx_edge.EdgeEvaluator", {"model": "LiteConverter.float32.edge_model", **DATA}, GATE
    ),
    Node(
        "EdgeEvaluator",
        "tfx_edge.EdgeEvaluator",
        {"model": "Quantizer.edge_model", "baseline_model": "LiteConverter.float32.edge_model", **DATA},
        GATE,
    ),
    Node(
        "Pusher",
        "tfx.components.Pusher",
        {"model": "Quantizer.edge_model", "model_blessing": "EdgeEvaluator.blessing"},
        {"pushed_model": "PushedModel"},
    ),
)


@dataclass
class Filler:
    """Puts runs into a store, many in one transaction."""

    store: ml_metadata.MetadataStore
    types: dict[str, int] = field(default_factory=dict)
    contexts: dict[str, int] = field(default_factory=dict)

    def fill(self, runs: int) -> None:
        """Puts that many runs."""
        for start in range(0, runs, RUNS_AT_ONCE):
            self._put(range(start, min(start + RUNS_AT_ONCE, runs)))
            print(f"\r{min(start + RUNS_AT_ONCE, runs) * len(NODES):,} executions", end="", flush=True)
        print()

    def _put(self, runs: range) -> None:
        keys = [
            (run, f"{node.name}.{key}", kind) for run in runs for node in NODES for key, kind in node.outputs.items()
        ]
        artifact_ids = self.store.put_artifacts([self._artifact(*key) for key in keys])
        artifacts = {(run, name): each for (run, name, _), each in zip(keys, artifact_ids, strict=True)}
        done = [(run, node) for run in runs for node in NODES]
        execution_ids = self.store.put_executions([self._execution(node) for _, node in done])
        events, associations = [], []
        for (run, node), execution_id in zip(done, execution_ids, strict=True):
            used = [(key, source, pb.Event.INPUT) for key, source in node.inputs.items()]
            made = [(key, f"{node.name}.{key}", pb.Event.OUTPUT) for key in node.outputs]
            for key, name, kind in used + made:
                path = pb.Event.Path(steps=[pb.Event.Path.Step(key=key), pb.Event.Path.Step(index=0)])
                event = pb.Event(execution_id=execution_id, artifact_id=artifacts[run, name], type=kind, path=path)
                events.append(event)
            names = (("pipeline", PIPELINE), ("pipeline_run", f"run-{run:06}"), ("node", f"{PIPELINE}.{node.name}"))
            for context in names:
                associations.append(pb.Association(execution_id=execution_id, context_id=self._context(*context)))
        self.store.put_events(events)
        self.store.put_attributions_and_associations([], associations)

    def _artifact(self, run: int, name: str, kind: str) -> Any:
        artifact = pb.Artifact(
            type_id=self._type("artifact", kind),
            uri=f"/pipelines/{PIPELINE}/{name.replace('.', '/')}/{run}",
            state=pb.Artifact.LIVE,
        )
        properties: dict[str, str | int | float] = {"tfx_version": "1.16.0", "is_external": 0}
        if kind == "Examples":
            properties |= {"split_names": '["train", "eval"]', "span": run, "input_fingerprint": FINGERPRINT}
        if kind == "Model":
            properties |= {"sha256": digest(run, name), "recipe": CONFIG, "size_bytes": 46024.0}
        if kind in GATE.values():
            properties |= {
                "blessed": run % 2,
                "reason": "all 8 checks passed",
                "sha256": digest(run, "Quantizer.edge_model"),
            }
        if kind == GATE["report"]:
            properties |= {metric + bound: random.random() for metric in REPORT for bound in ("", "_low", "_high")}
        if kind == "PushedModel":
            properties |= {"pushed": 1, "pushed_destination": f"/pushed/{run}", "pushed_version": str(run)}
        _set(artifact, properties)
        return artifact

    def _execution(self, node: Node) -> Any:
        type_id = self._type("execution", node.kind)
        execution = pb.Execution(type_id=type_id, last_known_state=pb.Execution.COMPLETE)
        _set(execution, {"config": CONFIG, "label_key": "label", "tfx_edge_version": "0.1.0"})
        return execution

    def _type(self, what: str, name: str) -> int:
        if name not in self.types:
            put = getattr(self.store, f"put_{what}_type")
            self.types[name] = put(getattr(pb, f"{what.title()}Type")(name=name))
        return self.types[name]

    def _context(self, kind: str, name: str) -> int:
        if name not in self.contexts:
            type_id = self.store.put_context_type(pb.ContextType(name=kind))
            (self.contexts[name],) = self.store.put_contexts([pb.Context(type_id=type_id, name=name)])
        return self.contexts[name]


def digest(run: int, name: str) -> str:
    """The SHA-256 of a run's model."""
    return hashlib.sha256(f"{run} {name}".encode()).hexdigest()


def _set(item: Any, properties: Mapping[str, str | int | float]) -> None:
    for name, value in properties.items():
        kind = {str: "string_value", int: "int_value", float: "double_value"}[type(value)]
        setattr(item.custom_properties[name], kind, value)


def seconds(question: Callable[[], Any], rounds: int) -> str:
    """The median and the slowest of some rounds, and this process's share of the processor in the median one."""
    found = []
    for _ in range(rounds):
        started, used = time.perf_counter(), time.process_time()
        question()
        found.append((time.perf_counter() - started, time.process_time() - used))
    wall, used_in = zip(*found, strict=True)
    return f"{statistics.median(wall):.2f} s | {max(wall):.2f} s | {statistics.median(used_in):.2f} s"


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="?", default="build/bench-lineage/metadata.db", metavar="STORE")
    parser.add_argument("--executions", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    place: Place = options.store if is_url(options.store) else Path(options.store)
    if isinstance(place, Path):
        place.parent.mkdir(parents=True, exist_ok=True)
    store = ml_metadata.MetadataStore(connection_config(place))
    if not store.get_executions(list_options=ml_metadata.ListOptions(limit=1)):
        Filler(store).fill(options.executions // len(NODES))
    runs = len(store.get_contexts_by_type("pipeline_run"))
    model = digest(runs // 2, "Quantizer.edge_model")
    assert len(trace(model, place).steps) == 6
    print(f"{options.store}: {runs * len(NODES):,} executions")
    print("| question | median | slowest | processor, without the server |\n| --- | ---: | ---: | ---: |")
    for name, question in (
        ("lineage of one model", lambda: trace(model, place)),
        ("history, --last 20", lambda: read(place, last=20)),
        ("history of one node, --last 20", lambda: read(place, ["EdgeEvaluator.float32"], last=20)),
        (f"history of all {2 * runs:,} evaluations", lambda: read(place)),
    ):
        print(f"| {name} | {seconds(question, options.rounds)} |", flush=True)


if __name__ == "__main__":
    main()
