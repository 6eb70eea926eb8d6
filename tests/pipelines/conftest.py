"""Pipelines that the tests share: later runs answer from TFX's cache what did not change."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from wine import HERE, Node, Winery


@dataclass(frozen=True)
class DemoRun:
    """What a run of the digits pipeline left behind."""

    root: Path
    status: int
    stdout: str
    stderr: str

    @property
    def metadata(self) -> Path:
        return self.root / "metadata" / "metadata.db"

    @property
    def pushed(self) -> list[Path]:
        return sorted((self.root / "pushed").glob("*/tflite"))


def run_digits(root: Path, *arguments: str) -> DemoRun:
    command = [sys.executable, "-m", "tfx_edge.pipelines.digits", "--root", str(root), "--epochs", "6", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    return DemoRun(root, done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """A first run whose size limit no model meets."""
    return run_digits(tmp_path_factory.mktemp("digits"), "--max-size-bytes", "1000", "--min-accuracy", "0.8")


@pytest.fixture(scope="session")
def pushed(blocked: DemoRun) -> DemoRun:
    """A second run of the same pipeline with limits that the candidate meets."""
    return run_digits(blocked.root, "--min-accuracy", "0.8", "--max-accuracy-drop", "0.15")


@pytest.fixture(scope="session")
def winery(tmp_path_factory: pytest.TempPathFactory) -> Winery:
    return Winery(tmp_path_factory.mktemp("wine"))


@pytest.fixture(scope="session")
def stock(winery: Winery) -> dict[str, Node]:
    """The nodes of a plain TFX pipeline that ran."""
    winery.launch(winery.create(HERE / "stock" / "pipeline.py", HERE / "stock" / "model" / "wine_model.py", "stock"))
    return {name: winery.node(name) for name in ("Transform", "Trainer", "Pusher")}


@pytest.fixture(scope="session")
def edge(winery: Winery, stock: dict[str, Node]) -> dict[str, Node]:
    """The nodes of the same pipeline with tfx-edge's components, run after it."""
    winery.launch(winery.create(HERE / "edge" / "pipeline.py", HERE / "edge" / "model" / "wine_model.py", "edge"))
    names = ("Transform", "Trainer", "LiteConverter", "Quantizer", "EdgeEvaluator", "Pusher")
    return {name: winery.node(name) for name in names}
