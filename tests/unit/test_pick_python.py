"""tools/pick-python on machines put together from fake interpreters, a fake getconf and a fake uname."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "pick-python"


@dataclass
class Machine:
    """A machine whose PATH holds nothing but what a test puts there."""

    root: Path
    glibc: str = "glibc 2.41"
    system: str = "Linux x86_64"
    compiler: bool = True

    def command(self, name: str, body: str) -> Path:
        """Make an executable, on PATH unless the name is a path of its own below the root."""
        path = self.root / name if "/" in name else self.root / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    def python(self, name: str, version: str, headers: bool = True, ensurepip: bool = True) -> Path:
        """Make a Python that answers both questions the script asks: what it is, and only its version."""
        path = self.root / name if "/" in name else self.root / "bin" / name
        answer = f"{version} {headers} {ensurepip} {path}"
        return self.command(name, f'case $3 in *ensurepip*) echo "{answer}" ;; *) echo {version} ;; esac')

    def shim(self, name: str) -> None:
        """Make the shim of a pyenv version that is not selected: on PATH, and failing."""
        self.command(name, f'echo "pyenv: {name}: command not found" >&2; exit 127')

    def pyenv(self, version: str) -> Path:
        """Install a version under pyenv's root."""
        return self.python(f"home/.pyenv/versions/{version}/bin/python", version.rpartition(".")[0])

    def pick(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the script there."""
        self.command("getconf", f'echo "{self.glibc}"' if self.glibc else "exit 1")
        kernel, processor = self.system.split()
        self.command("uname", f"case $1 in -s) echo {kernel} ;; -m) echo {processor} ;; esac")
        if self.compiler:
            self.command("g++", "")
        environment = {"PATH": str(self.root / "bin"), "HOME": str(self.root / "home"), **variables}
        return subprocess.run(["/bin/sh", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)

    def picked(self, **variables: str) -> tuple[str, str, str]:
        """The stack, the Python and the reason."""
        result = self.pick(**variables)
        assert result.returncode == 0, result.stderr
        stack, python, reason = result.stdout.splitlines()
        return stack, python, reason

    def refused(self, **variables: str) -> str:
        """The one line that says why nothing can run."""
        result = self.pick(**variables)
        assert result.returncode == 1
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        return line


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("glibc", "pythons", "stack", "chosen"),
    [
        pytest.param("glibc 2.41", {"python3": "3.13", "python3.13": "3.13"}, "current", "python3.13", id="Debian 13"),
        pytest.param(
            "glibc 2.39", {"python3": "3.12", "python3.12": "3.12"}, "current", "python3.12", id="Ubuntu 24.04"
        ),
        pytest.param(
            "glibc 2.35", {"python3": "3.10", "python3.10": "3.10"}, "classic", "python3.10", id="Ubuntu 22.04"
        ),
        pytest.param("glibc 2.36", {"python3": "3.11", "python3.10": "3.10"}, "classic", "python3.10", id="Debian 12"),
        pytest.param(
            "glibc 2.38", {"python3.12": "3.12", "python3.10": "3.10"}, "classic", "python3.10", id="just too old"
        ),
        pytest.param("glibc 2.41", {"python3": "3.10"}, "classic", "python3", id="new system, only an old Python"),
        pytest.param("glibc 2.41", {"python3": "3.11"}, "current", "python3", id="known as python3 only"),
        pytest.param(
            "glibc 2.41", {"python3.11": "3.11", "python3": "3.12"}, "current", "python3", id="python3 is newer"
        ),
        pytest.param(
            "glibc 2.43", {"python3": "3.14", "python3.13": "3.13"}, "current", "python3.13", id="python3 too new"
        ),
    ],
)
def test_newest_runnable_stack_is_picked(
    machine: Machine, glibc: str, pythons: dict[str, str], stack: str, chosen: str
) -> None:
    machine.glibc = glibc
    for name, version in pythons.items():
        machine.python(name, version)

    assert machine.picked()[:2] == (stack, str(machine.root / "bin" / chosen))


def test_reason_names_what_rules_out_the_current_stack(machine: Machine) -> None:
    machine.python("python3.10", "3.10")
    assert "no Python 3.11 to 3.13" in machine.picked()[2]

    machine.glibc = "glibc 2.36"
    assert "glibc 2.36 is older than the 2.39" in machine.picked()[2]


def test_shim_of_an_unselected_version_is_passed_over_for_the_version_itself(machine: Machine) -> None:
    machine.shim("python3.13")
    machine.shim("python3")
    python = machine.pyenv("3.13.0")

    assert machine.picked()[:2] == ("current", str(python))


def test_pyenv_root_is_honoured(machine: Machine) -> None:
    python = machine.python("elsewhere/versions/3.12.1/bin/python", "3.12")

    assert machine.picked(PYENV_ROOT=str(machine.root / "elsewhere"))[1] == str(python)


def test_incomplete_python_gives_way_to_a_complete_one(machine: Machine) -> None:
    machine.python("python3.13", "3.13", headers=False)
    machine.python("python3.12", "3.12")

    assert machine.picked()[:2] == ("current", str(machine.root / "bin" / "python3.12"))


def test_classic_stack_stands_in_for_an_incomplete_current_python(machine: Machine) -> None:
    machine.python("python3.13", "3.13", headers=False)
    machine.python("python3.10", "3.10")

    stack, _, reason = machine.picked()

    assert stack == "classic"
    assert "python3.13 lacks Python's headers" in reason


def test_asked_for_stack_wins_over_the_newest(machine: Machine) -> None:
    machine.python("python3.13", "3.13")
    machine.python("python3.10", "3.10")

    assert machine.picked(STACK="classic")[0] == "classic"
    assert machine.picked(STACK="current")[0] == "current"


def test_given_python_wins_over_the_newest(machine: Machine) -> None:
    machine.python("python3.13", "3.13")
    python = machine.python("own/python", "3.11")

    assert machine.picked(PYTHON=str(python))[:2] == ("current", str(python))


def test_virtual_environment_resolves_to_its_base_python(machine: Machine) -> None:
    """The environment that is active may be the one about to be made anew."""
    machine.glibc = "glibc 2.39"
    environment = machine.root / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)

    _, python, _ = machine.picked(PYTHON=str(environment / "bin" / "python"))

    assert not Path(python).is_relative_to(environment)
    assert os.path.samefile(python, getattr(sys, "_base_executable", sys.executable))


@pytest.mark.parametrize(
    ("compiler", "headers", "ensurepip", "packages"),
    [
        (False, False, False, "apt-get install g++ python3-dev python3-venv"),
        (False, True, True, "apt-get install g++"),
        (True, False, True, "apt-get install python3-dev"),
        (True, True, False, "apt-get install python3-venv"),
    ],
)
@pytest.mark.parametrize(("glibc", "version"), [("glibc 2.41", "3.13"), ("glibc 2.35", "3.10")])
def test_refusal_names_the_packages_that_are_missing(
    machine: Machine, glibc: str, version: str, compiler: bool, headers: bool, ensurepip: bool, packages: str
) -> None:
    machine.glibc, machine.compiler = glibc, compiler
    machine.python("python3", version, headers=headers, ensurepip=ensurepip)

    assert machine.refused().endswith(f"{packages})")


def test_packages_of_a_python_beside_the_system_one_carry_its_version(machine: Machine) -> None:
    machine.python("python3", "3.14")
    machine.python("python3.13", "3.13", headers=False, ensurepip=False)

    assert "apt-get install python3.13-dev python3.13-venv" in machine.refused()


@pytest.mark.parametrize("glibc", ["glibc 2.41", "glibc 2.36"])
def test_refusal_without_any_python_says_how_to_get_one(machine: Machine, glibc: str) -> None:
    machine.glibc = glibc
    machine.shim("python3.10")

    line = machine.refused()

    assert "there is no Python 3.10" in line
    assert "pyenv install" in line
    assert "apt-get install" in line


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"system": "Linux aarch64"}, "this is Linux aarch64"),
        ({"system": "Darwin arm64"}, "this is Darwin arm64"),
        ({"glibc": ""}, "need glibc"),
    ],
)
def test_machine_that_no_wheel_fits_is_refused(machine: Machine, changes: dict[str, str], said: str) -> None:
    machine.python("python3.13", "3.13")
    for name, value in changes.items():
        setattr(machine, name, value)

    assert said in machine.refused()


@pytest.mark.parametrize(
    ("glibc", "variables", "said"),
    [
        ("glibc 2.36", {"STACK": "current"}, "older than the 2.39 that the current stack needs"),
        ("glibc 2.36", {"PYTHON": "python3.12"}, "older than the 2.39 that the current stack needs"),
        ("glibc 2.41", {"STACK": "classic"}, "no Python 3.10"),
        ("glibc 2.41", {"STACK": "classic", "PYTHON": "python3.12"}, "runs the current stack and not the classic one"),
        ("glibc 2.41", {"STACK": "newest"}, "STACK=newest is unknown"),
        ("glibc 2.41", {"PYTHON": "python3.9"}, "PYTHON=python3.9 is Python 3.9"),
        ("glibc 2.41", {"PYTHON": "python3.8"}, "PYTHON=python3.8 does not run here"),
    ],
)
def test_wish_that_cannot_be_met_is_refused(machine: Machine, glibc: str, variables: dict[str, str], said: str) -> None:
    machine.glibc = glibc
    machine.python("python3.12", "3.12")
    machine.python("python3.9", "3.9")

    assert said in machine.refused(**variables)
