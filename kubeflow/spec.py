"""Parts of a pipeline spec by the name of a task.

Components and executors are named as kfp's own compiler names them, ``comp-<task>`` and ``exec-<task>``: its local
runner makes folders of what follows ``comp-``.
"""

from __future__ import annotations

import re
from typing import Any

_EXECUTOR = re.compile(r"tfx_edge\.(\w+)\.executor\.Executor")


def tasks(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tasks of a pipeline by name."""
    return spec["root"]["dag"]["tasks"]


def component_name(task: str) -> str:
    """The name of a task's component."""
    return f"comp-{task}"


def executor_name(task: str) -> str:
    """The name of a task's executor."""
    return f"exec-{task}"


def component(spec: dict[str, Any], task: str) -> dict[str, Any]:
    """A task's component: its inputs and outputs."""
    return spec["components"][tasks(spec)[task]["componentRef"]["name"]]


def executor(spec: dict[str, Any], task: str) -> dict[str, Any]:
    """What performs a task: a ``container``, an ``importer`` or a ``resolver``."""
    label = component(spec, task).get("executorLabel", "")
    return spec["deploymentSpec"]["executors"].get(label, {})


def container(spec: dict[str, Any], task: str) -> dict[str, Any]:
    """The container that a task runs; empty for an importer or a resolver."""
    return executor(spec, task).get("container", {})


def component_package(spec: dict[str, Any], task: str) -> str | None:
    """The package of this project's component that a task runs, such as ``pruner``; None for another task."""
    return package_of(container(spec, task))


def package_of(definition: dict[str, Any]) -> str | None:
    """The package of this project's component that a container runs; None for another one."""
    found = (_EXECUTOR.fullmatch(str(argument)) for argument in definition.get("args", ()))
    return next((match[1] for match in found if match), None)


def runs_tfx(spec: dict[str, Any], task: str) -> bool:
    """Whether a task runs an executor class at all."""
    return "--executor_class_path" in container(spec, task).get("args", ())
