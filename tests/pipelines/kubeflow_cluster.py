"""Runs a compiled pipeline whole as Kubeflow Pipelines runs it, without a cluster and without containers.

This is what KFP's compiler to Argo and its driver do: which task runs when, what it is given, what comes from the
cache, and how artifacts and parameters travel from one to the next. They travel through ML Metadata there, by which
they lose their types and gain properties, and whole numbers become doubles.

Source: ``backend/src/v2/driver``, ``component/importer_launcher.go``, ``metadata/converter.go`` and
``cacheutils/cache.go`` of kubeflow/pipelines 2.17.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubeflow_launcher import Container, Store, Watch, launch

from tfx_edge.kubeflow import package
from tfx_edge.kubeflow import spec as parts

_CONDITION = re.compile(r"inputs\.parameter_values\['([^']+)'\] == '([^']*)'")
_KINDS: dict[str, Any] = {
    "STRING": str, "NUMBER_INTEGER": float, "NUMBER_DOUBLE": float, "BOOLEAN": bool, "LIST": list, "STRUCT": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """What became of a task.

    Attributes:
      state: ``succeeded``, ``cached``, ``skipped`` (its condition did not hold), ``failed``, or ``omitted`` (what it
        depends on did not succeed).
      parameters: its output parameters.
      artifacts: its output artifacts as others are given them.
      log: what the container printed.
    """

    state: str
    parameters: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    log: Path | None = None

    @property
    def done(self) -> bool:
        return self.state in ("succeeded", "cached")


class Cluster:
    """An object store, a cache and a metadata store that outlive runs.

    Args:
      folder: where all of it is kept.
      image: folders of modules that the image holds beside the package.
    """

    def __init__(self, folder: Path, *image: Path) -> None:
        self.store = Store(folder / "store")
        self._folder, self._image = folder, image
        self._ids = itertools.count(1)
        self._imported: dict[str, dict[str, Any]] = {}
        self._cache: dict[str, Task] = {}

    def run(self, file: Path, *arguments: tuple[str, str], watch: dict[str, Watch] | None = None) -> dict[str, Task]:
        """Runs what ``tfx-edge kubeflow compile`` wrote.

        Args:
          file: the YAML.
          *arguments: names of RuntimeParameters, each with its value.
          watch: functions that are called when a task's process has started, by the task's name.

        Returns:
          Every task by name.
        """
        pipeline = package.read(file)
        defined = pipeline.spec["root"].get("inputDefinitions", {}).get("parameters", {})
        defaults = {name: each["defaultValue"] for name, each in defined.items() if "defaultValue" in each}
        run = _Run(self, pipeline.spec, {**defaults, **pipeline.arguments(arguments)}, pipeline.root(None), watch or {})
        return run.to_the_end()

    def container(self, run_id: str, task: str) -> Container:
        """A container in which nothing has run yet."""
        folder, log = self._folder / "container", self._folder / "logs" / run_id / task
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        log.parent.mkdir(parents=True, exist_ok=True)
        return Container(folder, log, self._image)

    def recorded(self, name: str, artifact: dict[str, Any]) -> dict[str, Any]:
        """An artifact that went into ML Metadata and came out again."""
        properties = {key: _property(value) for key, value in artifact.get("metadata", {}).items()}
        return {
            "name": str(next(self._ids)),
            "uri": artifact["uri"],
            "type": {"instanceSchema": ""},
            "metadata": {"display_name": name, "store_session_info": "{}", **properties},
        }

    def imported(self, name: str, artifact: dict[str, Any]) -> dict[str, Any]:
        """The same for an importer: an equal artifact keeps its identity, by which the cache knows it."""
        key = json.dumps([name, artifact], sort_keys=True)
        if key not in self._imported:
            self._imported[key] = self.recorded(name, artifact)
        return self._imported[key]

    def cached(self, key: str) -> Task | None:
        return self._cache.get(key)

    def keep(self, key: str, task: Task) -> None:
        self._cache[key] = task


class _Run:
    def __init__(
        self, cluster: Cluster, spec: dict[str, Any], arguments: dict[str, Any], root: str, watch: dict[str, Watch]
    ) -> None:
        self.id = str(uuid.uuid4())
        self.cluster, self.spec, self.arguments, self.watch = cluster, spec, arguments, watch
        self.root = f"{root}/{spec['pipelineInfo']['name']}/{self.id}"
        self.tasks: dict[str, Task] = {}

    def to_the_end(self) -> dict[str, Task]:
        waiting = dict(parts.tasks(self.spec))
        while waiting:
            ready = [name for name, task in waiting.items() if self.tasks.keys() >= set(task.get("dependentTasks", ()))]
            assert ready, f"tasks wait for each other: {', '.join(waiting)}"
            for name in ready:
                task = waiting.pop(name)
                held = all(self.tasks[other].done for other in task.get("dependentTasks", ()))
                self.tasks[name] = self._perform(name, task) if held else Task("omitted")
        return self.tasks

    def _perform(self, name: str, task: dict[str, Any]) -> Task:
        component = parts.component(self.spec, name)
        executor = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]
        if "importer" in executor:
            return self._import(task, component, executor["importer"])
        inputs = {
            "parameterValues": self._parameters(task, component),
            "artifacts": {
                key: {"artifacts": [self._upstream(source["taskOutputArtifact"])]}
                for key, source in task.get("inputs", {}).get("artifacts", {}).items()
            },
        }
        if not _triggered(task, inputs):
            return Task("skipped")
        command = [*executor["container"].get("command", []), *executor["container"].get("args", [])]
        outputs = component.get("outputDefinitions", {})
        key = json.dumps([_cache_key(inputs), outputs, command, executor["container"]["image"]], sort_keys=True)
        cacheable = task.get("cachingOptions", {}).get("enableCache", False)
        known = self.cluster.cached(key) if cacheable else None
        if known:
            return Task("cached", known.parameters, known.artifacts)
        container = self.cluster.container(self.id, name)
        given = {"inputs": inputs, "outputs": self._outputs(name, outputs, container)}
        made = launch(container, self.cluster.store, command, component, copy.deepcopy(given), self.watch.get(name))
        if made is None:
            return Task("failed", log=container.log)
        artifacts = {each: self.cluster.recorded(each, artifact) for each, artifact in made["artifacts"].items()}
        done = Task("succeeded", made["parameters"], artifacts, container.log)
        if cacheable:
            self.cluster.keep(key, done)
        return done

    def _import(self, task: dict[str, Any], component: dict[str, Any], importer: dict[str, Any]) -> Task:
        uri = importer["artifactUri"].get("constant")
        if uri is None:
            source = task["inputs"]["parameters"][importer["artifactUri"]["runtimeParameter"]]
            uri = self.arguments[source["componentInputParameter"]]
        (name,) = component["outputDefinitions"]["artifacts"]
        artifact = {"uri": uri, "metadata": importer.get("metadata", {})}
        again = importer.get("reimport", False)
        made = self.cluster.recorded(name, artifact) if again else self.cluster.imported(name, artifact)
        return Task("succeeded", artifacts={name: made})

    def _upstream(self, source: dict[str, str]) -> dict[str, Any]:
        return self.tasks[source["producerTask"]].artifacts[source["outputArtifactKey"]]

    def _parameters(self, task: dict[str, Any], component: dict[str, Any]) -> dict[str, Any]:
        """The values of input parameters, each of the type that the component declares."""
        values = {}
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            if "componentInputParameter" in source:
                value = self.arguments[source["componentInputParameter"]]
            elif "taskOutputParameter" in source:
                output = source["taskOutputParameter"]
                value = self.tasks[output["producerTask"]].parameters[output["outputParameterKey"]]
            else:
                value = source["runtimeValue"]["constant"]
            value = _number(value)
            kind = component["inputDefinitions"]["parameters"][name]["parameterType"]
            if kind == "STRING" and not isinstance(value, str):
                value = json.dumps(value)
            assert isinstance(value, _KINDS[kind]), f"parameter {name} is {value!r}, and its type is {kind}"
            values[name] = value
        return values

    def _outputs(self, name: str, definitions: dict[str, Any], container: Container) -> dict[str, Any]:
        folder = f"{self.root}/{name}/{uuid.uuid4()}"
        declared = {
            **definitions.get("artifacts", {}),
            "executor-logs": {"artifactType": {"schemaTitle": "system.Artifact"}},
        }
        artifacts = {
            key: {"name": key, "uri": f"{folder}/{key}", "type": each["artifactType"]} for key, each in declared.items()
        }
        return {
            "artifacts": {key: {"artifacts": [artifact]} for key, artifact in artifacts.items()},
            "parameters": {
                key: {"outputFile": str(container.folder / "tmp" / "kfp" / "outputs" / key)}
                for key in definitions.get("parameters", {})
            },
            "outputFile": str(container.mounted(folder) / "output_metadata.json"),
        }


def _triggered(task: dict[str, Any], inputs: dict[str, Any]) -> bool:
    condition = task.get("triggerPolicy", {}).get("condition")
    if condition is None:
        return True
    found = _CONDITION.fullmatch(condition)
    assert found, f"a condition that is not understood here: {condition}"
    return inputs["parameterValues"][found[1]] == found[2]


def _cache_key(inputs: dict[str, Any]) -> dict[str, Any]:
    """Artifacts count by their identity alone."""
    names = {key: [each["name"] for each in found["artifacts"]] for key, found in inputs["artifacts"].items()}
    return {"artifacts": names, "parameters": inputs["parameterValues"]}


def _number(value: Any) -> Any:
    """A protobuf ``Value`` knows one type of number."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _property(value: Any) -> Any:
    """A value that was a property in ML Metadata."""
    if isinstance(value, list | dict):
        return {"list" if isinstance(value, list) else "struct": value}
    return float(value) if isinstance(value, int) else value
