"""What the commands of ``tfx-edge kubeflow`` do: options in, the text to print out."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_edge.errors import ConfigError
from tfx_edge.kubeflow.server import ServerSettings

if TYPE_CHECKING:
    from tfx_edge.kubeflow.compiler import Compiled


def compile_command(options: argparse.Namespace) -> str:
    """Compiles a pipeline and writes the file."""
    compiled = _compile(options, options.image)
    compiled.write(options.output)
    image = compiled.settings.image
    lines = [f"wrote {options.output}: {len(compiled.spec['root']['dag']['tasks'])} tasks, image {image}"]
    return "\n".join([*lines, *(f"note: {note}" for note in compiled.notes)])


def image_command(options: argparse.Namespace) -> str:
    """Builds the image of a pipeline's tasks, or writes its build context."""
    from tfx_edge.kubeflow.image import docker

    if not options.context:
        docker.check()
    compiled = _compile(options, options.tag)

    from tfx_edge.kubeflow.image import context

    base = options.base or context.default_base()
    builder = options.builder or context.default_builder()
    if options.context:
        notes = context.write(compiled, options.context, base, builder)
        done = f"wrote {options.context}; docker build --tag {compiled.settings.image} {options.context}"
    else:
        with tempfile.TemporaryDirectory(prefix="tfx-edge-image-") as folder:
            notes = context.write(compiled, Path(folder), base, builder)
            docker.build(Path(folder), compiled.settings.image, options.network, options.build_arg)
        done = f"built {compiled.settings.image}"
    return "\n".join([done, *(f"note: {note}" for note in notes)])


def _compile(options: argparse.Namespace, image: str | None) -> Compiled:
    from tfx_edge.kubeflow.settings import CompileSettings, default_image

    settings = CompileSettings.parse(
        {
            "target": options.target,
            "image": image or default_image(),
            "pipeline_root": options.pipeline_root,
            "volumes": dict(_volume(text) for text in options.volume),
        }
    )
    with contextlib.nullcontext() if options.verbose else _quiet_imports():
        try:
            from tfx_edge.kubeflow.compiler import compile_pipeline
            from tfx_edge.kubeflow.loading import load
        except ModuleNotFoundError as error:
            if error.name != "kfp":
                raise
            raise ConfigError("compiling for Kubeflow needs kfp; pip install 'tfx-edge[kubeflow]'") from error
    return compile_pipeline(load(options.pipeline, options.arg), settings)


def submit_command(options: argparse.Namespace) -> str:
    """Starts a run and waits for its verdict."""
    from tfx_edge.kubeflow import package, submit, verdicts

    pipeline = package.read(options.package)
    settings = _settings(options)
    verdicts.deciding_gates(pipeline.spec, options.gate)
    run_id = submit.submit(
        settings,
        pipeline,
        pipeline.root(options.pipeline_root),
        pipeline.arguments(options.param),
        options.experiment,
        options.service_account,
        options.cache,
    )
    if options.no_wait:
        return run_id
    _tell(f"run {run_id} of {pipeline.name} on {settings.address}")
    return _wait(options, run_id, pipeline.spec)


def follow_command(options: argparse.Namespace) -> str:
    """Waits for the verdict of a run."""
    return _wait(options, options.run_id, None)


def _wait(options: argparse.Namespace, run_id: str, spec: dict[str, Any] | None) -> str:
    from tfx_edge.kubeflow.submit import RunError, follow

    outcome = follow(_settings(options), run_id, _tell, options.interval, options.limit, spec, options.gate)
    if not outcome.verdicts:
        return f"the run {run_id} succeeded; it has no EdgeEvaluator, so there is no verdict"
    if not outcome.blessed:
        _tell(outcome.to_text())
        withheld = [gate for gate in outcome.deciding if outcome.verdicts[gate] != "blessed"]
        raise RunError(
            f"not blessed by {', '.join(withheld)} in the run {run_id}; the reason is its output parameter 'reason'"
        )
    return outcome.to_text()


def schedule_command(options: argparse.Namespace) -> str:
    """Makes the schedule what the options say."""
    from tfx_edge.kubeflow import cron, package
    from tfx_edge.kubeflow.schedule import Schedule, Schedules

    line = cron.to_kubeflow(options.cron)
    pipeline = package.read(options.package)
    wanted = Schedule(
        name=options.name or pipeline.name,
        package_path=str(options.package),
        package_digest=pipeline.digest,
        cron=line,
        pipeline_root=pipeline.root(options.pipeline_root),
        arguments=pipeline.arguments(options.param),
        experiment=options.experiment,
        catch_up=options.catch_up,
        max_concurrency=options.max_concurrency,
        enabled=options.enabled,
        service_account=options.service_account,
        cache=options.cache,
        description=options.description,
    )
    return Schedules(_settings(options)).apply(wanted)


def schedules_command(options: argparse.Namespace) -> str:
    """Lists schedules."""
    from tfx_edge.kubeflow.schedule import Schedules

    found = Schedules(_settings(options)).find(options.experiment)
    if options.json:
        import json

        return json.dumps(found, indent=2)
    if not found:
        return "no schedules"
    rows = [
        (schedule["name"], schedule["cron"] or "-", "enabled" if schedule["enabled"] else "disabled", schedule["id"])
        for schedule in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]) for row in rows
    )


def change_command(options: argparse.Namespace) -> str:
    """Enables, disables or deletes a schedule."""
    from tfx_edge.kubeflow.schedule import Schedules

    schedules = Schedules(_settings(options))
    if options.action == "delete":
        return schedules.delete(options.name, options.experiment)
    return schedules.switch(options.name, options.action == "enable", options.experiment)


@contextlib.contextmanager
def _quiet_imports() -> Iterator[None]:
    """Keeps what TensorFlow and its like print about this machine to themselves."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _settings(options: argparse.Namespace) -> ServerSettings:
    return ServerSettings(
        host=options.host,
        namespace=options.namespace,
        token_file=options.token_file,
        request_timeout=options.request_timeout,
    )


def _volume(text: str) -> tuple[str, str]:
    claim, colon, folder = text.partition(":")
    if not (claim and colon and folder):
        raise ConfigError(f"--volume is {text!r}; write CLAIM:/folder")
    return claim, folder


def _tell(line: str) -> None:
    print(line, flush=True)
