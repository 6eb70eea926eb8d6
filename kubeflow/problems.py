"""What Kubeflow cannot run of a TFX pipeline, each with the way around, known before anything runs.

Sources: the compiler and launcher of kubeflow/pipelines (``backend/src/v2``: resolvers and lifecycle hooks are not
implemented), TFX's ``orchestration/kubeflow/v2/step_builder.py``, and Argo's rule for the names of tasks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from tfx.components import FileBasedExampleGen, InfraValidator, Pusher
from tfx.dsl.component.experimental import executor_specs
from tfx.dsl.components.base import base_component, base_driver, executor_spec
from tfx.dsl.components.common import importer, resolver
from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration import data_types
from tfx.orchestration.kubeflow.v2 import compiler_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.utils import import_utils

from tfx_edge.errors import ConfigError
from tfx_edge.gate.beam_engine import Engine
from tfx_edge.kubeflow import names, user_modules
from tfx_edge.kubeflow.mounts import SCHEMES
from tfx_edge.kubeflow.settings import CompileSettings

_PIPELINE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_FOREIGN_URI = re.compile(r"\b(?:s3a?|minio|oci|hdfs)://[^\s\"'\\]*")


def find(pipeline: Pipeline, settings: CompileSettings) -> list[str]:
    """Everything that would fail on the cluster, in the order of the pipeline.

    Args:
      pipeline: as its author made it.
      settings: what it is compiled for; ``pipeline_root`` already holds the root that applies.
    """
    nodes = list(pipeline.components)
    found = [*_of_pipeline(pipeline, settings), *names.problems([node.id for node in nodes])]
    for node in nodes:
        found += [f"{node.id}: {problem}" for check in _CHECKS for problem in check(node, settings)]
    return found + user_modules.problems(nodes)


def _of_pipeline(pipeline: Pipeline, settings: CompileSettings) -> Iterator[str]:
    name = pipeline.pipeline_info.pipeline_name
    if not _PIPELINE_NAME.fullmatch(name):
        yield f"the pipeline is named {name!r}; use at most 128 lower-case letters, digits and '-'"
    root = settings.pipeline_root
    schemes = SCHEMES if settings.target == "kfp" else ("gs://",)
    if not isinstance(root, str) or not root.startswith(schemes):
        yield (
            f"the pipeline root is {str(root)!r}, where tasks on other machines cannot find it; give --pipeline-root "
            f"with {' or '.join(schemes)}"
        )


def _resolvers(node: Any, settings: CompileSettings) -> Iterator[str]:
    if not isinstance(node, resolver.Resolver):
        return
    if settings.target == "kfp":
        yield (
            "Kubeflow Pipelines has no Resolver. For a baseline of the gate give EdgeEvaluator the float model of the "
            "same run (LiteConverter's edge_model), or a fixed model: Importer(source_uri=..., artifact_type=Model), "
            "whose source_uri may be a RuntimeParameter that each schedule sets"
        )
    elif node.exec_properties[resolver.RESOLVER_STRATEGY_CLASS] not in (
        LatestArtifactStrategy,
        LatestBlessedModelStrategy,
    ):
        yield "Vertex AI knows LatestArtifactStrategy and LatestBlessedModelStrategy only; use one, or an Importer"


def _infra_validators(node: Any, settings: CompileSettings) -> Iterator[str]:
    if isinstance(node, InfraValidator):
        yield (
            "InfraValidator starts a model server beside itself, which TFX does not compile for Kubeflow. Leave it "
            "out and give Pusher EdgeEvaluator's infra_blessing: it runs the model as a device does"
        )


def _drivers(node: Any, settings: CompileSettings) -> Iterator[str]:
    driver = getattr(node, "driver_class", base_driver.BaseDriver)
    if isinstance(node, importer.Importer | resolver.Resolver) or driver is base_driver.BaseDriver:
        return
    if not driver.__module__.startswith("tfx.components.example_gen"):
        yield (
            f"its driver {driver.__name__} would not run: tasks on Kubeflow have no drivers of their own. Move what "
            "it does into the executor"
        )
    elif settings.target == "kfp" and isinstance(node, FileBasedExampleGen):
        text = str(node.exec_properties.get("input_config"))
        if node.exec_properties.get("range_config") or re.search(r"\{(?:SPAN|VERSION|YYYY|MM|DD)\b", text):
            yield (
                "spans and versions of its input are found by a driver, which Kubeflow Pipelines does not run. Give "
                "input_base as a RuntimeParameter and set it in each schedule, such as "
                "input_base=gs://bucket/data/[[ScheduledTime.2006-01-02]]"
            )


def _executors(node: Any, settings: CompileSettings) -> Iterator[str]:
    if isinstance(node, Pipeline):
        yield "a pipeline inside a pipeline does not compile for Kubeflow; put its components into the outer one"
        return
    if not isinstance(node, base_component.BaseComponent):
        return
    spec = node.executor_spec
    if isinstance(spec, executor_specs.TemplatedExecutorContainerSpec):
        return
    if not isinstance(spec, executor_spec.ExecutorClassSpec):
        yield f"its executor is a {type(spec).__name__}; only executor classes and container specs can be compiled"
    elif spec.executor_class.__module__ == "__main__":
        yield (
            "its executor is defined in the script that is run, which no container can import; move the component "
            "into a module"
        )


def _engines(node: Any, settings: CompileSettings) -> Iterator[str]:
    arguments = getattr(getattr(node, "executor_spec", None), "beam_pipeline_args", None) or ()
    engine = Engine.parse([argument for argument in arguments if isinstance(argument, str)])
    # On Vertex AI others take gs:// as it is, and so do their workers.
    takes_mounts = settings.target == "kfp" or type(node).__module__.startswith("tfx_edge.")
    if engine.workers_elsewhere and takes_mounts:
        yield (
            f"its Beam workers ({engine.settings['--runner']}) would not see the folders that Kubeflow mounts into its "
            'container. Let it work there: .with_beam_pipeline_args(["--runner=DirectRunner"]), with '
            "--direct_running_mode=multi_processing and --direct_num_workers for several processes"
        )


def _artifact_types(node: Any, settings: CompileSettings) -> Iterator[str]:
    types = {channel.type for channel in [*node.inputs.values(), *node.outputs.values()]}
    for artifact_type in sorted(types, key=lambda found: str(found.TYPE_NAME)):
        name = artifact_type.TYPE_NAME
        try:
            compiler_utils.get_artifact_schema(artifact_type)
            if artifact_type not in compiler_utils._SUPPORTED_STANDARD_ARTIFACT_TYPES:
                import_utils.import_class_by_path(name)
        except (ValueError, ImportError, AttributeError):
            yield (
                f"the artifact type {name!r} cannot be found again in a container, where its TYPE_NAME is imported. "
                f"Name it package.Class ([a-z][a-z0-9-_]{{2,20}}.[A-Z]...) and export the class there"
            )


def _stores(node: Any, settings: CompileSettings) -> Iterator[str]:
    if isinstance(node, importer.Importer | resolver.Resolver) or not type(node).__module__.startswith("tfx."):
        return
    for key, value in node.exec_properties.items():
        for uri in _FOREIGN_URI.findall(value) if isinstance(value, str) else ():
            way = "gs://, or a volume (--volume CLAIM:/folder)" if settings.target == "kfp" else "gs://"
            yield (
                f"{key} names {uri}, which TensorFlow's file system cannot open. Use {way}; an artifact can come by an "
                "Importer from any store that Kubeflow knows"
            )


def _importers(node: Any, settings: CompileSettings) -> Iterator[str]:
    uri = node.exec_properties.get(importer.SOURCE_URI_KEY) if isinstance(node, importer.Importer) else None
    schemes = (*SCHEMES, "oci://") if settings.target == "kfp" else ("gs://",)
    if isinstance(uri, str) and not uri.startswith(schemes):
        yield f"it would import {uri!r}, which is not in an object store; upload it, and give {' or '.join(schemes)}"


def _pushers(node: Any, settings: CompileSettings) -> Iterator[str]:
    if not isinstance(node, Pusher):
        return
    folder = push_folder(node)
    if folder and folder.startswith("/") and not settings.on_volume(folder):
        way = "gs://, or to a volume: --volume CLAIM:/folder" if settings.target == "kfp" else "gs://"
        yield f"it would push to {folder}, which is lost when its container ends. Push to {way}"


def _parameters(node: Any, settings: CompileSettings) -> Iterator[str]:
    for key, value in node.exec_properties.items():
        if isinstance(value, data_types.RuntimeParameter) and not value.ptype:
            yield f"the RuntimeParameter {value.name!r} of {key} has no ptype; give ptype=str, int or float"


def _configurations(node: Any, settings: CompileSettings) -> Iterator[str]:
    value = node.exec_properties.get("config")
    if isinstance(value, data_types.RuntimeParameter) and value.default is not None and hasattr(node, "CONFIG_CLASS"):
        try:
            node.CONFIG_CLASS.parse(value.default)
        except ConfigError as error:
            yield f"the default of the RuntimeParameter {value.name!r} of config: {error}"


def push_folder(node: Any) -> str | None:
    """Where a Pusher pushes to, if it is a folder that is known now."""
    value = node.exec_properties.get("push_destination")
    if not isinstance(value, str):
        return None
    filesystem = json.loads(value).get("filesystem", {})
    return filesystem.get("base_directory") or filesystem.get("baseDirectory")


_CHECKS: tuple[Callable[[Any, CompileSettings], Iterator[str]], ...] = (
    _resolvers,
    _infra_validators,
    _drivers,
    _executors,
    _engines,
    _artifact_types,
    _stores,
    _importers,
    _pushers,
    _parameters,
    _configurations,
)
