"""The user's module: where it is, and which functions it defines."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from tfx_edge.errors import ConfigError, UserCodeError


def check_module(
    component: str, module_file: str | None, module_path: str | None, required: dict[str, str] | None = None
) -> None:
    """Checks a component's user module while the pipeline is built, without running it.

    Args:
      component: the component's name, for the message.
      module_file: a path of a Python file, or None.
      module_path: a dotted module name, or None.
      required: functions that the module must define, each with what it is for.

    Raises:
      ConfigError: both are given, the file or module does not exist, or none is given though a function is required.
      UserCodeError: a required function is missing.
    """
    if module_file and module_path:
        raise ConfigError(f"{component}: give module_file or module_path, not both ({module_file!r}, {module_path!r})")
    if not (module_file or module_path):
        if required:
            wanted = "; ".join(f"{name} {purpose}" for name, purpose in required.items())
            raise ConfigError(f"{component}: give a module_file or module_path that defines {wanted}")
        return
    if module_file and not Path(module_file).is_file():
        raise ConfigError(f"{component}: the module file {module_file!r} does not exist")
    where = module_file or module_path
    try:
        spec = _find(module_file, module_path)
        names = _top_level_names(spec)
    except ModuleNotFoundError:
        raise ConfigError(f"{component}: there is no module {module_path!r}") from None
    except SyntaxError as error:
        raise UserCodeError(f"{component}: {where} is not valid Python: {error}") from error
    for name, purpose in (required or {}).items():
        if names is not None and name not in names:
            raise UserCodeError(f"{component}: {where} does not define {name} {purpose}")


def defines(module_file: str | None, module_path: str | None, name: str) -> bool:
    """Whether a module defines a name at top level, as far as its source tells; it is not run."""
    if not (module_file or module_path):
        return False
    return name in (_top_level_names(_find(module_file, module_path)) or ())


def _find(module_file: str | None, module_path: str | None) -> ModuleSpec:
    if module_file:
        spec = importlib.util.spec_from_file_location(Path(module_file).stem, module_file)
        if spec is None:
            raise UserCodeError(f"{module_file} cannot be imported as a Python module: its name must end in .py")
        return spec
    spec = importlib.util.find_spec(str(module_path))
    if spec is None:
        raise ModuleNotFoundError(module_path)
    return spec


def _top_level_names(spec: ModuleSpec) -> set[str] | None:
    """Names that a module defines at top level; None where its source does not tell.

    Raises:
      SyntaxError: it is not valid Python.
    """
    get_source = getattr(spec.loader, "get_source", None)  # that of a wheel is no InspectLoader before Python 3.11
    source = get_source(spec.name) if get_source else None
    if source is None:
        return None
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            if any(alias.name == "*" for alias in node.names):
                return None
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            parts = [part for target in targets for part in ast.walk(target)]
            if any(isinstance(part, ast.Call) for part in parts):  # as in globals()["compile_fn"] = ...
                return None
            names.update(part.id for part in parts if isinstance(part, ast.Name))
        elif not isinstance(node, ast.Expr):
            return None
    return None if "__getattr__" in names else names


def may_define(module_file: str | None, module_path: str | None, name: str) -> bool:
    """Whether a module defines a name at top level, or its source does not tell; it is not run."""
    if not (module_file or module_path):
        return False
    names = _top_level_names(_find(module_file, module_path))
    return names is None or name in names


class UserCode:
    """The functions of the module that ``module_file`` or ``module_path`` names.

    It is imported when first asked for a function that its source may define: a module that imports TensorFlow takes
    longer than most of the work.
    """

    def __init__(self, module_file: str | None, module_path: str | None) -> None:
        self._module_file = module_file
        self._module_path = module_path

    def get(self, name: str) -> Callable[..., Any] | None:
        """The function of that name, or None when the module does not define it or there is no module."""
        if not (self._module_file or self._module_path):
            return None
        names = self._names
        if names is not None and name not in names:
            return None
        return getattr(self._module, name, None)

    @functools.cached_property
    def _spec(self) -> ModuleSpec:
        if not self._module_path:
            return _find(_local(str(self._module_file)), None)
        # TFX packages a module file as a wheel and names it module@wheel; a wheel of pure Python can be imported as it
        # is.
        name, _, wheel = self._module_path.partition("@")
        if wheel:
            sys.path.insert(0, _local(wheel))
        return _find(None, name)

    @functools.cached_property
    def _names(self) -> set[str] | None:
        return _top_level_names(self._spec)

    @functools.cached_property
    def _module(self) -> ModuleType:
        if self._module_path:
            return importlib.import_module(self._spec.name)
        module = importlib.util.module_from_spec(self._spec)
        assert self._spec.loader
        sys.modules[self._spec.name] = module  # where dataclasses and pickle look the module of a class up
        self._spec.loader.exec_module(module)
        return module

    def source(self) -> bytes:
        """The module as it is written, also where it lies in a wheel."""
        return self._spec.loader.get_data(self._spec.origin)  # type: ignore[union-attr]

    def require(self, name: str, purpose: str) -> Callable[..., Any]:
        """The function of that name.

        Raises:
          UserCodeError: the module does not define it.
        """
        function = self.get(name)
        if function is None:
            raise UserCodeError(f"{self._module_file or self._module_path} does not define {name} {purpose}")
        return function


def _local(path: str) -> str:
    """The path, or a local copy of a file elsewhere."""
    if Path(path).exists():
        return path
    from tfx.utils import io_utils

    return str(io_utils.ensure_local(path))
