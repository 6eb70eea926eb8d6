"""tools/setup-airflow and tools/setup-engine on machines that cannot do it, put together from fake commands."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from test_pick_python import Machine

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    for name, body in {"getconf": "echo glibc 2.41", "uname": "[ $1 = -s ] && echo Linux || echo x86_64"}.items():
        machine.command(name, body)
    for name in ("dirname", "mkdir"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    return machine


def run(machine: Machine, tool: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(machine.root / "bin"), "HOME": str(machine.root / "home"), **variables}
    command = ["/bin/sh", str(TOOLS / tool), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("version", "stack", "needed"),
    [
        ("3.12", "", "Airflow 2 needs a Python 3.12 or 3.11"),
        ("3.12", "current", "the current stack with Airflow 2 needs a Python 3.12 or 3.11"),
        ("3.10", "", "Airflow 2 needs a Python 3.12 or 3.11"),
        ("3.10", "classic", "Airflow 2 needs a Python 3.12 or 3.11"),
    ],
)
def test_airflow_is_refused_with_what_each_python_lacks(
    machine: Machine, version: str, stack: str, needed: str
) -> None:
    machine.python(f"python{version}", version)
    done = run(machine, "setup-airflow", str(machine.root / "venv"), STACK=stack)
    assert done.returncode == 1
    assert f"python{version} lacks a C++ compiler (Debian, Ubuntu: apt-get install g++)" in done.stderr
    assert needed in done.stderr.splitlines()[-1]
    assert not (machine.root / "venv").exists()


def test_only_root_makes_the_images_of_an_engine(machine: Machine) -> None:
    machine.command("docker", "[ $1 = version ]")
    machine.command("python", "case $2 in *version_info*) echo 3.12 ;; *) echo /opt/python ;; esac")
    machine.command("id", "echo 1000")
    for tool in ("apt-get", "mmdebstrap"):
        machine.command(tool, f"echo {tool} was called >&2; exit 1")
    done = run(machine, "setup-engine", str(machine.root / "engine"), PYTHON="python")
    assert done.returncode == 3
    assert done.stderr == "tfx-edge: there is no image tfx-edge-base:3.12, and only root can make one of this system\n"
