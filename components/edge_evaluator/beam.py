"""When the eval split is scored on Beam."""

from __future__ import annotations

from collections.abc import Sequence

from tfx_edge.gate.evaluation import OnBeam
from tfx_edge.gate.example_files import ExampleFiles
from tfx_edge.stages.context import StageContext

IN_ONE_PROCESS = {"", "DirectRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner", "FnApiRunner", "PrismRunner"}


def has_workers(pipeline_args: Sequence[str]) -> bool:
    """Whether Beam's arguments name more than the process that starts the job; without, Beam only costs its start."""
    settings = dict(_split(argument) for argument in _joined(pipeline_args))
    if settings.get("--direct_running_mode", "in_memory") != "in_memory":
        return settings.get("--direct_num_workers", "1") != "1"
    return settings.get("--runner", "").rpartition(".")[2] not in IN_ONE_PROCESS


def job(stage: StageContext) -> OnBeam | None:
    """The Beam job of an evaluation, or None where this process scores the examples.

    Raises:
      DataError: there are no examples, or their schema is missing.
    """
    pipeline_args = stage.request.properties.get("beam_pipeline_args")
    if not pipeline_args or stage.user_code.get("input_fn") or not stage.label_key:
        return None
    files = ExampleFiles.matching(stage.files("eval"), stage.schema().SerializeToString(), stage.label_key)
    return OnBeam(files, pipeline_args, stage.request.properties["beam_folder"])


def _joined(arguments: Sequence[str]) -> list[str]:
    """Gives values that stand in an argument of their own back to their names."""
    joined: list[str] = []
    for argument in arguments:
        if argument.startswith("--") or not joined:
            joined.append(argument)
        else:
            joined[-1] += f"={argument}"
    return joined


def _split(argument: str) -> tuple[str, str]:
    name, _, value = argument.partition("=")
    return name, value
