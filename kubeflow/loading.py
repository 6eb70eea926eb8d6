"""Finds the function that creates a pipeline and calls it with arguments from a command line."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tfx_edge.errors import ConfigError, UserCodeError

DEFAULT_FUNCTION = "create_pipeline"


def load(reference: str, arguments: Iterable[tuple[str, str]]) -> Any:
    """Creates a pipeline.

    Args:
      reference: ``package.module:function`` or ``file.py:function``; the function is ``create_pipeline`` if left out.
      arguments: names, each with its value. A value becomes what the parameter is annotated with: text for ``str``, a
        `Path`, anything else is read as JSON; where it may be something else, too (``str | None``), that if it is the
        JSON of it. Without an annotation, or with one that is imported under ``TYPE_CHECKING`` only, JSON where it is
        JSON, else text.

    Raises:
      ConfigError: there is no such function, or the arguments do not fit it.
      UserCodeError: importing or calling it failed, or it did not return a pipeline.
    """
    from tfx.orchestration.pipeline import Pipeline

    function = _function(reference)
    given = _arguments(function, arguments)
    try:
        pipeline = function(**given)
    except Exception as error:
        raise UserCodeError(f"{reference} failed: {type(error).__name__}: {error}") from error
    if not isinstance(pipeline, Pipeline):
        raise UserCodeError(f"{reference} returned a {type(pipeline).__name__}; let it return a tfx Pipeline")
    return pipeline


def _function(reference: str) -> Callable[..., Any]:
    place, _, name = reference.partition(":")
    name = name or DEFAULT_FUNCTION
    path = Path(place)
    if path.suffix == ".py" and not path.is_file():
        raise ConfigError(f"there is no file {place!r}; give file.py:function or package.module:function")
    module_name = path.stem if path.suffix == ".py" else place
    folder = str(path.resolve().parent) if path.suffix == ".py" else ""
    # As Python itself would have it: what the file imports, and the name that a container imports it by.
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.split(".")[0] and error.name != module_name:
            raise UserCodeError(f"importing {place} failed: {error}") from error
        raise ConfigError(
            f"there is no module {module_name!r}; give package.module:function of an installed package, or file.py"
        ) from error
    except Exception as error:
        raise UserCodeError(f"importing {place} failed: {type(error).__name__}: {error}") from error
    if folder and Path(module.__file__ or "").resolve() != path.resolve():
        raise ConfigError(
            f"{place} cannot be imported as {module_name!r}, which is already the name of {module.__file__}; rename it"
        )
    function = getattr(module, name, None)
    if not callable(function):
        functions = sorted(
            key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")
        )
        raise ConfigError(f"{place} has no function {name!r}; it has {', '.join(functions) or 'none'}")
    return function


def _arguments(function: Callable[..., Any], arguments: Iterable[tuple[str, str]]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    given: dict[str, Any] = {}
    for name, text in arguments:
        if name not in parameters:
            raise ConfigError(f"--arg {name}: there is no such parameter; known: {', '.join(parameters) or 'none'}")
        given[name] = _convert(name, text, _hint(function, parameters[name]))
    missing = [
        name
        for name, parameter in parameters.items()
        if name not in given
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if missing:
        raise ConfigError(f"the pipeline's function needs {', '.join(missing)}; give each as --arg name=value")
    return given


def _hint(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """What a parameter is annotated with; None if only a type checker would know."""
    if parameter.annotation is parameter.empty:
        return None
    alone = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return typing.get_type_hints(alone, getattr(inspect.unwrap(function), "__globals__", {}))[parameter.name]
    except NameError:
        return None


def _convert(name: str, text: str, hint: Any) -> Any:
    if hint is str:
        return text
    if isinstance(hint, type) and issubclass(hint, Path):
        return hint(text)
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = [typing.get_origin(member) or member for member in (typing.get_args(hint) if union else ())]
    word = next((member for member in (str, Path) if member in members), None)
    try:
        value = json.loads(text)
    except ValueError as error:
        if word or not hint:
            return word(text) if word else text
        raise ConfigError(
            f"--arg {name}: {text!r} is no JSON ({error}), which a parameter of type {hint} is read as"
        ) from None
    kinds = [member for member in members if isinstance(member, type) and member not in (word, Any)]
    others = (*kinds, *([int] if float in kinds else []))
    return word(text) if word and not isinstance(value, others) else value
