"""Processes that die, and disks that are full, while a pipeline runs under LocalDagRunner with its store in SQLite.

Whatever dies and when: nothing that is not whole is blessed or pushed, and the next run does what is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ready
from forked import Forked, Server
from ml_metadata.proto import metadata_store_pb2
from processes import below, command_line, runs, until
from wine import Node, Winery

from tfx_edge.training.checkpoints import Checkpoint

pytestmark = pytest.mark.pipeline

STAGE, DEVICE, RUNNER = "tfx_edge.stages.child", "tfx_edge.devices.runner", "the runner itself"
GATE = {"thresholds": {"accuracy": {"min": 0.8}}}
EPOCHS = 150
State = metadata_store_pb2.Execution.State


@dataclass(frozen=True)
class Outcome:
    """What a run left behind.

    Attributes:
      status: of the process that ran it.
      log: what it printed.
      states: of the latest execution of each node.
      live: uris of the artifacts that the store calls live, Importers' aside.
      files: of all artifacts, whether the store knows them or not, relative to the pipeline root.
      pushed: files that Pusher wrote.
    """

    status: int
    log: str
    states: dict[str, str]
    live: list[str]
    files: list[str]
    pushed: list[Path]


class Place:
    """Where the runs of one pipeline keep everything."""

    def __init__(self, server: Server, data: Path, root: Path) -> None:
        root.mkdir()
        self.server, self.data, self.root = server, data, root
        self.winery = Winery(root)

    def start(self, pipeline: str, fault: dict[str, Any] | None = None, config: dict[str, Any] | None = None) -> Forked:
        given = {"root": str(self.root), "data": str(self.data), "fault": fault, "config": config or GATE}
        return self.server.start("faulty:run", pipeline=pipeline, **given)

    def run(self, pipeline: str, fault: dict[str, Any] | None = None, config: dict[str, Any] | None = None) -> Outcome:
        return self.outcome(self.start(pipeline, fault, config))

    def outcome(self, process: Forked) -> Outcome:
        status = process.wait()
        artifacts = self.winery.artifacts
        files = [path.relative_to(artifacts) for path in artifacts.rglob("*") if path.is_file()]
        return Outcome(
            status,
            process.log.read_text(),
            {
                name: State.Name(self.node(name).execution.last_known_state)
                for name in ("Pruner", "Quantizer", "EdgeEvaluator", "Pusher")
                if list(artifacts.glob(f"{name}/*"))
            },
            self.winery.live_below(artifacts),
            [str(file) for file in files if ".system" not in file.parts],
            sorted(path for path in self.root.glob("pushed/*/*")),
        )

    def node(self, name: str) -> Node:
        return self.winery.node(name, "faulty")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with contextlib.closing(Server(["faulty"], tmp_path_factory.mktemp("logs"))) as server:
        yield server


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ready")
    ready.make(folder)
    return folder


@pytest.fixture(scope="module")
def shipped(server: Server, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Runs of one pipeline, one after another: four in which something dies, and one that is left alone."""
    place = Place(server, data, tmp_path_factory.mktemp("shipping") / "root")
    return {
        "half a file": place.run("shipping", {"program": STAGE, "file_bytes": 2000}),
        "no description": place.run("shipping", {"program": STAGE, "writes": "edge.json", "parent": True}),
        "judging": place.run("shipping", {"program": STAGE, "starts": DEVICE, "parent": True}),
        "judged": place.run("shipping", {"program": RUNNER, "writes": "INFRA_BLESSED"}),
        "whole": place.run("shipping"),
    }


def outputs(outcome: Outcome, node: str) -> set[str]:
    """Names of the files that a node's executions left."""
    return {Path(file).name for file in outcome.files if Path(file).parts[0] == node}


def test_a_stage_that_dies_in_the_middle_of_a_file_leaves_nothing(shipped: dict[str, Outcome]) -> None:
    found = shipped["half a file"]
    assert found.status == 1
    assert "tfx_edge.errors.ModelError: Quantizer: the process was killed by SIGXFSZ" in found.log
    assert found.states == {"Quantizer": "FAILED"}
    assert found.live == found.files == found.pushed == []


def test_half_an_output_of_a_runner_that_dies_is_nobodys(shipped: dict[str, Outcome]) -> None:
    found = shipped["no description"]
    assert found.status == -9
    assert found.states == {"Quantizer": "RUNNING"}
    assert "tflite" in outputs(found, "Quantizer"), "what the test is about"
    assert "edge.json" not in outputs(found, "Quantizer")
    assert found.live == found.pushed == []


def test_a_runner_that_dies_while_a_model_is_judged_blesses_nothing(shipped: dict[str, Outcome]) -> None:
    found = shipped["judging"]
    assert found.status == -9
    assert found.states == {"Quantizer": "COMPLETE", "EdgeEvaluator": "RUNNING"}
    assert not outputs(found, "EdgeEvaluator")
    assert found.pushed == []


def test_a_verdict_that_was_written_but_not_published_counts_for_nothing(shipped: dict[str, Outcome]) -> None:
    found = shipped["judged"]
    assert found.status == -9
    assert found.states == {"Quantizer": "CACHED", "EdgeEvaluator": "RUNNING"}
    assert {"report.json", "BLESSED"} <= outputs(found, "EdgeEvaluator"), "what the test is about"
    assert len(found.live) == 1, "the quantized model"
    assert found.pushed == []


def test_the_next_run_does_only_what_is_missing_and_comes_to_the_same_verdict(shipped: dict[str, Outcome]) -> None:
    found = shipped["whole"]
    assert found.status == 0, found.log[-3000:]
    assert found.states == {"Quantizer": "CACHED", "EdgeEvaluator": "COMPLETE", "Pusher": "COMPLETE"}
    assert {"edge.json", "tflite"} <= {path.name for path in found.pushed}
    place = found.pushed[0].parents[2]
    reports = [json.loads(path.read_text()) for path in place.glob("artifacts/EdgeEvaluator/report/*/report.json")]
    assert len(reports) == 2, "of the runner that died, and of this one"
    first, second = ((each["verdict"], each["targets"]["local"]["candidate"]["accuracy"]) for each in reports)
    assert first == second
    assert {each["sha256"] for each in reports} == {hashlib.sha256(found.pushed[-1].read_bytes()).hexdigest()}


def test_a_killed_training_goes_on_in_the_next_run(server: Server, data: Path, tmp_path: Path) -> None:
    place = Place(server, data, tmp_path / "root")
    config = {"epochs": EPOCHS}
    process = place.start("training", config=config)

    def epochs_kept() -> int:
        kept = (Checkpoint(path.parent, path.stem).load() for path in kept_states(place))
        return max((state.progressed.epochs for state in kept if state), default=0)

    until(lambda: epochs_kept() >= 2)
    trainers = below(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    found = place.outcome(process)
    assert found.status == -9
    assert found.states == {"Pruner": "RUNNING"}
    assert found.live == []
    assert trainers
    until(lambda: not any(map(runs, trainers)))
    done = epochs_kept()
    assert 2 <= done < EPOCHS

    found = place.run("training", config=config)
    assert found.status == 0, found.log[-3000:]
    assert f"Pruner: goes on after epoch {done}/{EPOCHS}" in found.log
    assert found.states == {"Pruner": "COMPLETE"}
    assert [Path(uri).parent.parent.name for uri in found.live] == ["Pruner"]
    assert not kept_states(place)
    assert place.run("training", config=config).states == {"Pruner": "CACHED"}


def kept_states(place: Place) -> list[Path]:
    return list(place.winery.artifacts.glob("Pruner/.system/tfx_edge/*.npz"))


def test_a_device_whose_process_dies_blesses_nothing_until_the_next_run(
    server: Server, data: Path, tmp_path: Path
) -> None:
    place = Place(server, data, tmp_path / "root")
    found = place.run("shipping", {"program": DEVICE, "imports": "ai_edge_litert"})
    assert found.status == 0, found.log[-3000:]
    blessing = place.node("EdgeEvaluator").outputs["blessing"].custom_properties
    assert blessing["blessed"].int_value == 0
    assert (
        "the interpreter crashed (SIGKILL, as the kernel does when memory runs out)" in blessing["reason"].string_value
    )
    assert found.pushed == []
    found = place.run("shipping")
    assert found.states["EdgeEvaluator"] == "COMPLETE", "the cache answered for a device that died"
    assert found.pushed


def test_a_device_that_hangs_ends_with_the_runner(server: Server, data: Path, tmp_path: Path) -> None:
    """It would take its core from whatever is measured next."""
    place = Place(server, data, tmp_path / "root")
    before = set(server.temporary.iterdir())
    process = place.start("shipping", {"program": DEVICE, "imports": "ai_edge_litert", "hangs": True})
    hanging: list[int] = []

    def hangs() -> bool:
        hanging[:] = [pid for pid in below(process.pid) if DEVICE in command_line(pid)]
        return bool(hanging)

    until(hangs)
    used = set(server.temporary.iterdir()) - before
    assert used
    os.kill(process.pid, signal.SIGKILL)
    assert place.outcome(process).pushed == []
    until(lambda: not any(map(runs, hanging)), 30)
    assert not used & set(server.temporary.iterdir()), "files that nobody needs any more"


def test_a_full_disk_stops_a_stage_and_withholds_a_blessing(server: Server, data: Path, tmp_path: Path) -> None:
    place = Place(server, data, tmp_path / "root")
    with small_disk(place.winery.artifacts / "Quantizer", 8) as quantizer, \
         small_disk(place.winery.artifacts / "EdgeEvaluator", 16) as evaluator:  # fmt: skip
        found = place.run("shipping")
        assert found.status == 1
        assert "EdgeError: Quantizer: cannot write a file (No space left on device); make room" in found.log
        assert found.states["Quantizer"] == "FAILED"
        assert found.live == found.files == found.pushed == []

        quantizer.grow()
        found = place.run("shipping")
        assert found.status == 0, found.log[-3000:]
        blessing = place.node("EdgeEvaluator").outputs["blessing"].custom_properties
        assert blessing["blessed"].int_value == 0
        assert "the report could not be written" in blessing["reason"].string_value
        assert "No space left on device" in blessing["reason"].string_value
        assert found.pushed == []

        evaluator.grow()
        found = place.run("shipping")
        assert found.states == {"Quantizer": "CACHED", "EdgeEvaluator": "COMPLETE", "Pusher": "COMPLETE"}
        assert place.node("EdgeEvaluator").outputs["blessing"].custom_properties["blessed"].int_value == 1
        assert {"edge.json", "tflite"} <= {path.name for path in found.pushed}


@dataclass(frozen=True)
class SmallDisk:
    """A file system of some KiB, in memory."""

    folder: Path

    def grow(self) -> None:
        subprocess.run(["mount", "-o", "remount,size=4m", self.folder], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[SmallDisk]:
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no small file system can be mounted: {error}")
    if done.returncode:
        pytest.skip(f"no small file system can be mounted: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
