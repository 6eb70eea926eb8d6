"""The user's module is imported only for what it may define."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tfx_edge.errors import UserCodeError
from tfx_edge.stages.user_code import UserCode, check_module

MARK = "import sys\nsys.modules['imported_by_' + __name__] = sys\n"


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says whether a module has run."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return lambda name: f"imported_by_{name}" in sys.modules


@pytest.fixture(params=["file", "path", "wheel"])
def module(request: pytest.FixtureRequest, tmp_path: Path, imported: Any) -> Any:
    """Makes a module in one of the ways in which TFX names one."""

    def make(name: str, source: str) -> UserCode:
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        if request.param == "file":
            return UserCode(str(path), None)
        if request.param == "path":
            sys.path.insert(0, str(tmp_path))
            return UserCode(None, name)
        wheel = tmp_path / "user.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.write(path, path.name)
        path.unlink()
        return UserCode(None, f"{name}@{wheel}")

    return make


def test_a_module_without_the_function_does_not_run(module: Any, imported: Any) -> None:
    code = module("plain", f"{MARK}def input_fn(): return 1\n")
    assert code.get("compile_fn") is None
    with pytest.raises(UserCodeError, match=r"plain\S* does not define build_model_fn \(fn_args\)"):
        code.require("build_model_fn", "(fn_args)")
    assert not imported("plain")
    assert code.get("input_fn")() == 1
    assert imported("plain")


@pytest.mark.parametrize(
    "source",
    [
        "from json import loads as compile_fn\n",
        "from json import *\ncompile_fn = loads\n",
        "compile_fn: object = print\n",
        "input_fn, compile_fn = repr, print\n",
        "globals()['compile_fn'] = print\n",
        "def __getattr__(name):\n    if name == 'compile_fn': return print\n    raise AttributeError(name)\n",
        "try:\n    compile_fn = print\nfinally:\n    pass\n",
    ],
    ids=["import", "star", "annotated", "tuple", "globals", "getattr", "block"],
)
def test_whatever_may_define_the_function_runs(module: Any, source: str) -> None:
    assert callable(module("other", source).get("compile_fn"))


def test_a_module_may_define_dataclasses(module: Any) -> None:
    source = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Settings:
    rate: float = 0.5

def compile_fn(): return Settings().rate
"""
    assert module("settings_of_user", source).get("compile_fn")() == 0.5


def test_no_module_has_no_functions() -> None:
    assert UserCode(None, None).get("input_fn") is None


def test_a_file_that_is_no_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "module.txt"
    path.write_text("")
    with pytest.raises(UserCodeError, match=r"module\.txt cannot be imported as a Python module: its name must end in"):
        check_module("Pruner", str(path), None)
