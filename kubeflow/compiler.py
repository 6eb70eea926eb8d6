"""Compiles a TFX pipeline for Kubeflow Pipelines v2 and for Vertex AI Pipelines."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tfx.components import FileBasedExampleGen
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner
from tfx.orchestration.pipeline import Pipeline

from tfx_edge.errors import ConfigError
from tfx_edge.kubeflow import mending, problems, user_modules, verdicts
from tfx_edge.kubeflow import spec as parts
from tfx_edge.kubeflow.settings import CompileSettings

COMMAND = ("python", "-m", "tfx_edge.kubeflow.entrypoint")


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline.

    Attributes:
      spec: the PipelineSpec, schema 2.1.0, as JSON.
      settings: what it was compiled for.
      platforms: what Kubernetes is to do beyond it: volumes.
      modules: the files that the image must hold as importable modules.
      notes: what its author should know.
    """

    spec: dict[str, Any]
    settings: CompileSettings
    platforms: dict[str, Any] = field(default_factory=dict)
    modules: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def write(self, file: Path) -> None:
        """Writes ``.yaml``, or for Vertex AI also ``.json``: a PipelineJob.

        Raises:
          ConfigError: the file's suffix is another, or it cannot be written.
        """
        if file.suffix in (".yaml", ".yml"):
            documents = [document for document in (self.spec, self.platforms) if document]
            text = yaml.safe_dump_all(documents, sort_keys=True)
        elif file.suffix == ".json" and self.settings.target == "vertex":
            job = {
                "displayName": self.spec["pipelineInfo"]["name"],
                "pipelineSpec": self.spec,
                "runtimeConfig": {"gcsOutputDirectory": self.settings.pipeline_root},
            }
            text = json.dumps(job, indent=2, sort_keys=True)
        else:
            accepted = ".yaml" if self.settings.target == "kfp" else ".yaml or .json"
            raise ConfigError(
                f"--output is {str(file)!r}; for {self.settings.target} name a file that ends in {accepted}"
            )
        try:
            file.write_text(text)
        except OSError as error:
            raise ConfigError(
                f"cannot write {str(file)!r} ({error.strerror}); name a file in a folder that exists"
            ) from error


def compile_pipeline(pipeline: Pipeline, settings: CompileSettings | None = None) -> Compiled:
    """Compiles a pipeline. The pipeline is used up: its root and its modules are changed.

    Raises:
      ConfigError: naming everything in it that could not run, each with the way around.
    """
    settings = settings or CompileSettings()
    root = settings.pipeline_root or pipeline.pipeline_info.pipeline_root
    if isinstance(root, str):
        settings = settings.model_copy(update={"pipeline_root": root.rstrip("/")})
    else:
        settings = settings.model_copy(update={"pipeline_root": None})
    found = problems.find(pipeline, settings)
    if found:
        raise ConfigError(
            f"the pipeline {pipeline.pipeline_info.pipeline_name!r} cannot run on {settings.target}:\n  - "
            + "\n  - ".join(found)
        )
    nodes = list(pipeline.components)
    pipeline.pipeline_info.pipeline_root = settings.pipeline_root or ""
    modules = tuple(user_modules.use_modules_of_image(nodes))
    spec = mending.mend(_compile(pipeline, settings), nodes, settings.target)
    spec["defaultPipelineRoot"] = settings.pipeline_root
    verdicts.add_markers(spec)
    return Compiled(spec, settings, _platforms(spec, settings), modules, tuple(_notes(nodes, modules, settings)))


def _compile(pipeline: Pipeline, settings: CompileSettings) -> dict[str, Any]:
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        config=kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=settings.image, default_commands=list(COMMAND), use_pipeline_spec_2_1=True
        )
    )
    try:
        job = runner.run(pipeline, write_out=False)
    except Exception as error:
        raise ConfigError(
            f"TFX cannot compile the pipeline {pipeline.pipeline_info.pipeline_name!r} for Kubeflow: "
            f"{type(error).__name__}: {error}"
        ) from error
    return job["pipelineSpec"]


def _platforms(spec: dict[str, Any], settings: CompileSettings) -> dict[str, Any]:
    if not settings.volumes:
        return {}
    mounts = [{"constant": claim, "mountPath": folder} for claim, folder in sorted(settings.volumes.items())]
    running = [name for name in parts.tasks(spec) if parts.runs_tfx(spec, name)]
    executors = {parts.executor_name(name): {"pvcMount": [dict(mount) for mount in mounts]} for name in running}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def _notes(nodes: list[Any], modules: tuple[Path, ...], settings: CompileSettings) -> list[str]:
    notes = [f"the image must hold {file} as module {file.stem!r}" for file in modules]
    for node in nodes:
        if not isinstance(node, FileBasedExampleGen):
            continue
        base = node.exec_properties.get("input_base")
        if isinstance(base, str) and base.startswith("/") and not settings.on_volume(base):
            notes.append(f"{node.id} reads {base} inside its container: the image must hold it")
        if settings.target == "kfp":
            notes.append(f"{node.id} is never taken from the cache, since nothing would tell new files from old ones")
    return notes
