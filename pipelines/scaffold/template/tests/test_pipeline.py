"""Whole runs of the pipeline, as a user starts them: ``pytest -m pipeline``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]

pytestmark = pytest.mark.pipeline


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the pipeline with everything below another folder."""
    command = [sys.executable, str(PROJECT / "run_local.py"), "--root", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data."""
    folder = tmp_path_factory.mktemp("run")
    shutil.copytree(PROJECT / "data", folder / "data")
    return folder


def test_a_gate_that_no_model_meets_pushes_nothing(root: Path) -> None:
    """The exit status says so, and the output why."""
    gate = root / "strict.json"
    gate.write_text(json.dumps({"thresholds": {"size_bytes": {"max": 100}}}))
    done = run(root, "--gate", str(gate))
    assert done.returncode == 1, done.stderr
    assert "size_bytes" in done.stdout
    assert not (root / "pushed").exists()


def test_the_model_is_blessed_and_pushed(root: Path) -> None:
    """With the project's own gate."""
    done = run(root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((root / "pushed").glob("*/tflite"))) == 1
