"""A Docker daemon, the image of a pipeline's tasks, and runs of compiled pipelines in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
AUTHOR = HERE / "author" / "gate_pipeline.py"
REPOSITORY = HERE.parents[1]
FOLDER = REPOSITORY / ".engine"
IMAGE = "tfx-edge-test:latest"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
CLI = [sys.executable, "-m", "tfx_edge.cli", "kubeflow"]
_CANNOT = 3  # the exit status of tools/setup-engine on a machine that cannot have an engine


@dataclass(frozen=True)
class Run:
    """What a run left in its pipeline root."""

    root: Path
    status: int
    output: str

    def output_of(self, task: str, name: str) -> Path:
        """The only artifact of that name that a task has written."""
        (found,) = self.root.glob(f"*/{task}/{name}")
        return found

    def wrote(self, task: str) -> list[Path]:
        """The files of a task."""
        return [path for path in self.root.glob(f"*/{task}/**/*") if path.is_file()]


@dataclass(frozen=True)
class Engine:
    """A daemon that answers, and the image."""

    environment: dict[str, str]

    def docker(self, *arguments: str) -> str:
        return subprocess.run(
            ["docker", *arguments], env=self.environment, capture_output=True, text=True, check=True, timeout=600
        ).stdout.strip()

    def build(self, pipeline: str, *options: str) -> None:
        """Builds the image as a user would."""
        images = ["--base", f"tfx-edge-base:{PYTHON}", "--builder", f"tfx-edge-builder:{PYTHON}"]
        command = [*CLI, "image", pipeline, "--tag", IMAGE, *images, "--network", "host", *options]
        subprocess.run(command, env=self.environment, check=True, timeout=3600)

    def compile(self, pipeline: str, file: Path, *options: str) -> Path:
        command = [*CLI, "compile", pipeline, "--image", IMAGE, "-o", str(file), *options]
        subprocess.run(command, env=self.environment, check=True, timeout=600)
        return file

    def run(
        self, package: Path, root: Path, parameters: dict[str, Any] | None = None, options: dict[str, Any] | None = None
    ) -> Run:
        """Runs a compiled pipeline in containers, to its end."""
        program = [str(FOLDER / "runner" / "bin" / "python"), str(HERE / "run_local.py")]
        done = subprocess.run(
            [*program, str(package), str(root), json.dumps(parameters or {}), json.dumps(options or {})],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3600,
            check=False,
        )
        return Run(root, done.returncode, done.stdout)


def start() -> Iterator[Engine]:
    """A daemon: the one that is there, or one that is ended afterwards."""
    setup = subprocess.run(
        [str(REPOSITORY / "tools" / "setup-engine"), str(FOLDER)],
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    if setup.returncode == _CANNOT:
        pytest.skip(setup.stderr.strip().splitlines()[-1])
    assert not setup.returncode, setup.stderr
    address = setup.stdout.strip()
    environment = dict(os.environ) | ({"DOCKER_HOST": address} if address else {})
    try:
        yield Engine(environment)
    finally:
        started_here = FOLDER / "dockerd.pid"
        if address and address != os.environ.get("DOCKER_HOST") and started_here.exists():
            os.kill(int(started_here.read_text()), signal.SIGTERM)
