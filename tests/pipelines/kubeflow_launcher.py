"""A task's container as Kubeflow's launcher runs it, imitated by a process of this machine.

A folder stands for the container, the same for every task as ``/`` is, and empty at first: a task sees the inputs that
were downloaded for it and nothing else, and only the files of a task that succeeded are uploaded.

Source: ``backend/src/v2/component/launcher_v2.go`` and ``objectstore`` of kubeflow/pipelines 2.17.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 300
_SCHEMES = {"gs": "gcs", "minio": "minio", "s3": "s3"}

Watch = Callable[["subprocess.Popen[bytes]", "Container"], None]


class Store:
    """An object store: files by uri, no empty folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, uri: str) -> Path:
        scheme, _, key = uri.partition("://")
        return self.folder / _SCHEMES[scheme] / key

    def upload(self, source: Path, uri: str) -> None:
        """A file, or the files below a folder; a component need not write what it declares."""
        files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
        for file in files:
            _copy(file, self.path(uri) / file.relative_to(source) if file != source else self.path(uri))

    def download(self, uri: str, target: Path) -> None:
        """All objects whose key begins with that of the uri and ``/``, or the one of that key."""
        source = self.path(uri)
        if source.is_file():
            _copy(source, target)
        for file in source.rglob("*"):
            if file.is_file():
                _copy(file, target / file.relative_to(source))


@dataclass(frozen=True)
class Container:
    """A folder that stands for the root of a container's file system.

    Attributes:
      folder: the root.
      log: where to put what the container prints.
      image: folders of modules that the image has on its ``PYTHONPATH``.
    """

    folder: Path
    log: Path
    image: tuple[Path, ...] = ()

    def mounted(self, uri: str) -> Path:
        """Where the launcher puts an artifact: ``LocalPathForURI``."""
        scheme, _, key = uri.partition("://")
        return self.folder / _SCHEMES[scheme] / key

    def run(self, words: list[str], watch: Watch | None = None) -> int:
        """Runs a command line to its end, and returns its exit status."""
        home = self.folder / "home"
        home.mkdir()
        (self.folder / "tmp").mkdir(exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(self.folder / "tmp"),
            "PYTHONPATH": os.pathsep.join(map(str, self.image)),
            "TFX_EDGE_MOUNT_ROOT": str(self.folder),
        }
        program = sys.executable if words[0] == "python" else words[0]
        with self.log.open("wb") as log, subprocess.Popen(
            [program, *words[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=home
        ) as process:  # fmt: skip
            try:
                if watch:
                    watch(process, self)
                return process.wait(TIMEOUT_S)
            finally:
                process.kill()


def launch(
    container: Container,
    store: Store,
    command: list[str],
    component: dict[str, Any],
    given: dict[str, Any],
    watch: Watch | None,
) -> dict[str, Any] | None:
    """Runs a task.

    Args:
      container: where.
      store: inputs come from it and outputs go to it.
      command: the container's command and its arguments.
      component: the task's component.
      given: the driver's ExecutorInput.
      watch: called once the process runs.

    Returns:
      The values of output parameters, and the output artifacts as the task told them; None when it failed.
    """
    for found in given["inputs"]["artifacts"].values():
        for artifact in found["artifacts"]:
            store.download(artifact["uri"], container.mounted(artifact["uri"]))
    outputs = given["outputs"]
    files = [Path(parameter["outputFile"]) for parameter in outputs["parameters"].values()]
    files += [container.mounted(found["artifacts"][0]["uri"]) for found in outputs["artifacts"].values()]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    if container.run([_filled(word, given) for word in command], watch) != 0:
        return None
    told = Path(outputs["outputFile"])
    result = json.loads(told.read_text()) if told.exists() else {}
    values = {
        name: result.get("parameterValues", {}).get(name, _read(parameter, definition(component, name)))
        for name, parameter in outputs["parameters"].items()
    }
    artifacts = {}
    for name, found in outputs["artifacts"].items():
        (artifact,) = found["artifacts"]
        for other in result.get("artifacts", {}).get(name, {}).get("artifacts", [])[:1]:
            artifact["uri"] = other.get("uri") or artifact["uri"]
            artifact["metadata"] = {**artifact.get("metadata", {}), **other.get("metadata", {})}
        store.upload(container.mounted(artifact["uri"]), artifact["uri"])
        artifacts[name] = artifact
    return {"parameters": values, "artifacts": artifacts}


def definition(component: dict[str, Any], parameter: str) -> str:
    """The type of an output parameter."""
    return component["outputDefinitions"]["parameters"][parameter]["parameterType"]


def _read(parameter: dict[str, Any], kind: str) -> Any:
    """A parameter that the task left in its file instead of ``output_metadata.json``."""
    file = Path(parameter["outputFile"])
    text = file.read_text() if file.exists() else None
    return text if text is None or kind == "STRING" else json.loads(text)


def _filled(word: str, given: dict[str, Any]) -> str:
    word = word.replace("{{$}}", json.dumps(given))
    if "{{$." in word:
        raise NotImplementedError(f"placeholders other than {{{{$}}}}: {word[:80]}")
    return word


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
