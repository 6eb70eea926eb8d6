"""The user's module: where it is, and which functions it defines."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable
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
    source = Path(module_file) if module_file else _source_of(component, str(module_path))
    if source is None:
        return
    if not source.is_file():
        raise ConfigError(f"{component}: the module file {str(source)!r} does not exist")
    names = _top_level_names(component, source)
    for name, purpose in (required or {}).items():
        if names is not None and name not in names:
            raise UserCodeError(f"{component}: {source} does not define {name} {purpose}")


def _source_of(component: str, module_path: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module_path)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        raise ConfigError(f"{component}: there is no module {module_path!r}")
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


def _top_level_names(component: str, source: Path) -> set[str] | None:
    """Names that a Python file defines at top level; None when a star import makes that unknowable."""
    try:
        tree = ast.parse(source.read_text())
    except SyntaxError as error:
        raise UserCodeError(f"{component}: {source} is not valid Python: {error}") from error
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            if any(alias.name == "*" for alias in node.names):
                return None
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif not isinstance(node, ast.Expr):
            return None
    return names


class UserCode:
    """The functions of the module that ``module_file`` or ``module_path`` names; imported when first asked."""

    def __init__(self, module_file: str | None, module_path: str | None) -> None:
        self._module_file = module_file
        self._module_path = module_path
        self._module: ModuleType | None = None

    def get(self, name: str) -> Callable[..., Any] | None:
        """The function of that name, or None when the module does not define it or there is no module."""
        if not (self._module_file or self._module_path):
            return None
        if self._module is None:
            self._module = _import(self._module_file, self._module_path)
        return getattr(self._module, name, None)

    def require(self, name: str, purpose: str) -> Callable[..., Any]:
        """The function of that name.

        Raises:
          UserCodeError: the module does not define it.
        """
        function = self.get(name)
        if function is None:
            raise UserCodeError(f"{self._module_file or self._module_path} does not define {name} {purpose}")
        return function


def _import(module_file: str | None, module_path: str | None) -> ModuleType:
    if module_path:
        # TFX packages a module file as a wheel and names it module@wheel; a wheel of pure Python can be imported
        # as it is.
        name, _, wheel = module_path.partition("@")
        if wheel:
            sys.path.insert(0, _local(wheel))
        return importlib.import_module(name)
    path = Path(_local(str(module_file)))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserCodeError(f"{module_file} cannot be imported as a Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _local(path: str) -> str:
    """The path, or a local copy of a file elsewhere."""
    if Path(path).exists():
        return path
    from tfx.utils import io_utils

    return str(io_utils.ensure_local(path))
