"""Lets a training go on in the next execution of its node, when the process of this one was killed."""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

from tfx_edge.config import Config
from tfx_edge.errors import DeviceError, EdgeError
from tfx_edge.lite.bundle import versions
from tfx_edge.stages import several
from tfx_edge.stages.context import StageContext, folder_digest, model_digest
from tfx_edge.training.checkpoints import Checkpoint

_FUNCTIONS = ("build_model_fn", "build_student_fn", "compile_fn", "input_fn")


@contextlib.contextmanager
def resumable(stage: StageContext, config: Config) -> Iterator[Checkpoint | None]:
    """The place for a stage's checkpoint while it trains and writes its output; None where there is no such place.

    The checkpoint is removed when the stage is done, and when it failed for a reason that it names: it would fail for
    the same one again. What is left is that of a process that was killed, or whose device failed.
    """
    folder = stage.request.state_dir
    if not folder:
        yield None
        return
    checkpoint = Checkpoint(folder, work_digest(stage, config))
    try:
        yield checkpoint
    except EdgeError as error:
        if not isinstance(error, DeviceError):
            checkpoint.remove()
        raise
    checkpoint.remove()


def work_digest(stage: StageContext, config: Config) -> str:
    """Names a stage's work: equal only for the same model, data, user code, configuration and versions.

    Files count by their content: some orchestrators fetch them anew for each task.
    """
    arguments = stage.request.fn_args
    work = {
        "component": stage.request.component,
        "config": config.model_dump(mode="json"),
        "properties": {name: value for name, value in stage.request.properties.items() if name != "config"},
        "model": model_digest(stage.model_uri),
        "teachers": [model_digest(uri) for uri in several.uris(stage.request.inputs, "teachers")],
        "files": [_files(arguments.get(name) or ()) for name in ("train_files", "eval_files")],
        "described_by": [_content(arguments.get(name)) for name in ("schema_path", "transform_graph_path")],
        "custom_config": arguments.get("custom_config"),
        "code": _code(stage),
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(work, sort_keys=True, default=str).encode()).hexdigest()


def _files(patterns: Any) -> list[Any]:
    """Digests of the files, or the pattern itself where they are not on a local file system."""
    found: list[Any] = []
    for pattern in patterns:
        found += [_content(path) for path in sorted(glob.glob(pattern))] or [pattern]
    return found


def _content(place: str | None) -> str | None:
    """The digest of a file or a folder, or the place itself where it is not on a local file system."""
    path = Path(place or "")
    if place and path.is_dir():
        return folder_digest(path)
    if place and path.is_file():
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(2**20):
                digest.update(part)
        return digest.hexdigest()
    return place


def _code(stage: StageContext) -> list[str]:
    """Digests of the user's module, and of the files that define its functions and what these wrap."""
    functions = [function for function in map(stage.user_code.get, _FUNCTIONS) if function]
    if not functions:
        return []
    paths = {Path(code.co_filename) for function in functions for code in _codes(function)}
    sources = [path.read_bytes() for path in sorted(paths) if path.is_file()]
    return [hashlib.sha256(source).hexdigest() for source in (stage.user_code.source(), *sources)]


def _codes(function: Any) -> Iterator[CodeType]:
    """The code of a function and, as far as it is a partial or decorated, of what it wraps."""
    while function is not None:
        if code := getattr(function, "__code__", None):
            yield code
        partial = isinstance(function, functools.partial)
        function = function.func if partial else getattr(function, "__wrapped__", None)
