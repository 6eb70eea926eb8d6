"""Reads a compiled pipeline and the parameters that a run or a schedule gives it."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tfx_edge.config import Config
from tfx_edge.errors import ConfigError
from tfx_edge.kubeflow import spec as parts
from tfx_edge.kubeflow.mounts import SCHEMES

_SCHEMA_VERSION = "2.1.0"
_MACRO = re.compile(r"\[\[(?:RunUUID|ScheduledTime|CurrentTime|Index)\b")  # what Kubeflow fills in for each run


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
      file: where it lies.
      spec: its PipelineSpec.
    """

    file: Path
    spec: dict[str, Any]

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.spec["pipelineInfo"]["name"]

    @property
    def digest(self) -> str:
        """SHA-256 of the file's content."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    def root(self, given: str | None) -> str:
        """The pipeline root of a run: the one given, or the one that the pipeline was compiled with.

        Kubeflow takes a root with each run and ignores the compiled one.
        """
        root = given or self.spec.get("defaultPipelineRoot", "")
        if not root.startswith(SCHEMES):
            raise ConfigError(f"the pipeline root is {root!r}; give --pipeline-root with {' or '.join(SCHEMES)}")
        return root.rstrip("/")

    def arguments(self, given: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """The values of parameters as a run takes them; those left out keep the defaults of the pipeline.

        Args:
          given: names, each with its value; ``@file`` reads the value from a file.

        Raises:
          ConfigError: an unknown name, a value of another type, a configuration that its component would refuse, or
            a parameter without a value.
        """
        known = self.spec["root"].get("inputDefinitions", {}).get("parameters", {})
        values: dict[str, Any] = {}
        for name, text in given:
            if name not in known:
                raise ConfigError(f"--param {name}: the pipeline has no such parameter; it has {_listed(known)}")
            values[name] = _convert(name, _read(name, text), known[name]["parameterType"])
        missing = [name for name, parameter in known.items() if name not in values and "defaultValue" not in parameter]
        if missing:
            raise ConfigError(f"the pipeline needs {_listed(missing)}; give each as --param name=value")
        defaults = {name: known[name]["defaultValue"] for name in known.keys() - values.keys()}
        self._check_configurations(values, "--param {}")
        self._check_configurations(defaults, "the compiled default of {}")
        return values

    def _check_configurations(self, values: Mapping[str, Any], called: str) -> None:
        """A component would refuse its configuration only when it runs, which for a schedule may be at night."""
        for task, definition in parts.tasks(self.spec).items():
            source = definition.get("inputs", {}).get("parameters", {}).get("config", {})
            name = source.get("componentInputParameter")
            config_class = self._config_class(task) if name in values else None
            if config_class and not _MACRO.search(values[name]):
                try:
                    config_class.parse(values[name])
                except ConfigError as error:
                    raise ConfigError(f"{called.format(name)}, the configuration of {task}: {error}") from None

    def _config_class(self, task: str) -> type[Config] | None:
        package = parts.component_package(self.spec, task)
        if package is None:
            return None
        module = importlib.import_module(f"tfx_edge.{package}.spec")
        return getattr(module, package.title().replace("_", "") + "Config")


def read(file: Path) -> Package:
    """Reads what ``tfx-edge kubeflow compile`` wrote, or any pipeline spec that Kubeflow Pipelines v2 takes.

    Raises:
      ConfigError: there is no such file, or it holds no such spec.
    """
    try:
        documents = list(yaml.safe_load_all(file.read_text()))
    except OSError as error:
        raise ConfigError(f"cannot read {str(file)!r} ({error.strerror}); compile a pipeline first") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(file)!r} is no YAML: {error}") from None
    spec: dict[str, Any] = documents[0] if documents and isinstance(documents[0], dict) else {}
    version = spec.get("schemaVersion")
    if version != _SCHEMA_VERSION:
        raise ConfigError(
            f"{str(file)!r} holds no pipeline of schema {_SCHEMA_VERSION} (schemaVersion is {version!r}); give what "
            "'tfx-edge kubeflow compile' wrote for kfp"
        )
    if file.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{str(file)!r}: Kubeflow's client takes files that end in .yaml; rename it")
    return Package(file, spec)


def _read(name: str, text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--param {name}: cannot read {text[1:]!r} ({error})") from error


def _convert(name: str, text: str, kind: str) -> Any:
    if kind == "STRING" or _MACRO.search(text):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    fitting = {
        "NUMBER_INTEGER": isinstance(value, int) and not isinstance(value, bool),
        "NUMBER_DOUBLE": isinstance(value, int | float) and not isinstance(value, bool),
        "BOOLEAN": isinstance(value, bool),
        "LIST": isinstance(value, list),
        "STRUCT": isinstance(value, dict),
    }
    if not fitting.get(kind, False):
        raise ConfigError(f"--param {name} is {text!r}; its type is {kind}")
    return value


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"
