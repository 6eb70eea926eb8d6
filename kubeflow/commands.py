"""``tfx-edge kubeflow``: compiles pipelines, builds their images, submits and schedules them.

This is the argument parser; what the commands do is in `tfx_edge.kubeflow.actions`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfx_edge.arguments import assignment, positive, seconds


def register(commands: Any, verbose: argparse.ArgumentParser) -> None:
    """Adds the command to those of ``tfx-edge``.

    Args:
      commands: what ``add_subparsers`` returned.
      verbose: the parser with the options that all commands have.
    """
    group = commands.add_parser("kubeflow", parents=[verbose], help="run pipelines on Kubeflow Pipelines")
    actions = group.add_subparsers(title="actions", required=True, metavar="ACTION")
    pipeline = _pipeline_options()
    _add_compile(
        actions.add_parser("compile", parents=[verbose, pipeline], help="compile a pipeline for Kubeflow or Vertex AI")
    )
    _add_image(
        actions.add_parser("image", parents=[verbose, pipeline], help="build the container image of a pipeline's tasks")
    )

    server = _server_options()
    run = _run_options()
    command = actions.add_parser(
        "submit", parents=[verbose, server, run], help="run a compiled pipeline once and wait for its verdict"
    )
    command.add_argument("--no-wait", action="store_true", help="only start the run, and print its id")
    _add_following(command)
    command.set_defaults(run=_later("submit"))

    command = actions.add_parser("follow", parents=[verbose, server], help="wait for the verdict of a run")
    command.add_argument("run_id", metavar="RUN_ID")
    _add_following(command)
    command.set_defaults(run=_later("follow"))

    _add_schedule(
        actions.add_parser("schedule", parents=[verbose, server, run], help="create or change a schedule"),
    )
    command = actions.add_parser("schedules", parents=[verbose, server], help="list schedules")
    command.add_argument("--experiment", help="only those of this experiment")
    command.add_argument("--json", action="store_true", help="print JSON instead of text")
    command.set_defaults(run=_later("schedules"))
    for action, help_text in (
        ("enable", "let a schedule start runs"),
        ("disable", "let a schedule start no runs"),
        ("delete", "delete a schedule; its past runs stay"),
    ):
        command = actions.add_parser(f"{action}-schedule", parents=[verbose, server], help=help_text)
        command.add_argument("name", metavar="NAME")
        command.add_argument("--experiment", help="where several experiments have a schedule of this name")
        command.set_defaults(run=_later("change"), action=action)


def _add_compile(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--output", type=Path, default=Path("pipeline.yaml"), metavar="FILE")
    command.add_argument("--image", help="the container image of the tasks (default: tfx-edge:VERSION)")
    command.set_defaults(run=_later("compile"))


def _add_image(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tag", metavar="REF", help="the image's name (default: tfx-edge:VERSION, as of compile)")
    command.add_argument(
        "--context", type=Path, metavar="FOLDER", help="only write the build context, and build nothing"
    )
    command.add_argument(
        "--base", metavar="IMAGE", help="what the image is made from; has Python (default: python:X.Y-slim)"
    )
    command.add_argument(
        "--builder", metavar="IMAGE", help="where packages are installed; has compilers too (default: python:X.Y)"
    )
    command.add_argument("--network", help="of the build, as docker takes it, such as host")
    command.add_argument(
        "--build-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="as docker takes it: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_TRUSTED_HOST, PIP_CERT, proxies",
    )
    command.set_defaults(run=_later("image"))


def _add_schedule(command: argparse.ArgumentParser) -> None:
    command.add_argument("--cron", required=True, help="five fields, or Kubeflow's six with the second in front")
    command.add_argument("--name", help="of the schedule (default: the pipeline's)")
    command.add_argument("--description", default="", help="for people")
    command.add_argument("--catch-up", action="store_true", help="make up for runs that were missed")
    command.add_argument("--max-concurrency", type=positive, default=1, metavar="N", help="runs at once (default: 1)")
    state = command.add_mutually_exclusive_group()
    state.add_argument("--enabled", action="store_true", default=None, help="let it start runs")
    state.add_argument("--disabled", dest="enabled", action="store_false", help="let it start none")
    command.set_defaults(run=_later("schedule"))


def _add_following(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--gate",
        action="append",
        metavar="TASK",
        help="a gate that decides (default: those whose blessing another task, such as Pusher, takes)",
    )
    command.add_argument("--interval", type=seconds, default=10.0, metavar="S", help="seconds between questions")
    command.add_argument("--limit", type=seconds, metavar="S", help="seconds after which to stop waiting")


def _pipeline_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "pipeline", metavar="PIPELINE", help="package.module:function or file.py:function (default: create_pipeline)"
    )
    options.add_argument(
        "--arg",
        action="append",
        type=assignment,
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the function; JSON, or text",
    )
    options.add_argument("--target", choices=("kfp", "vertex"), default="kfp", help="default: kfp")
    options.add_argument("--pipeline-root", metavar="URI", help="where artifacts are kept (default: the pipeline's)")
    options.add_argument(
        "--volume",
        action="append",
        default=[],
        metavar="CLAIM:/FOLDER",
        help="mount a persistent volume claim in every task",
    )
    return options


def _server_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    group = options.add_argument_group("server")
    group.add_argument("--host", help="its address (default: KF_PIPELINES_ENDPOINT, else as kubectl is set up)")
    group.add_argument("--namespace", help="the user's namespace on a server for several users")
    group.add_argument("--token-file", type=Path, metavar="FILE", help="holds a bearer token")
    group.add_argument(
        "--request-timeout", type=positive, default=30, metavar="S", help="seconds until a request is given up"
    )
    return options


def _run_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("package", type=Path, metavar="PIPELINE.yaml", help="what compile wrote")
    options.add_argument("--pipeline-root", metavar="URI", help="where artifacts are kept (default: the compiled one)")
    options.add_argument(
        "--param",
        action="append",
        type=assignment,
        default=[],
        metavar="NAME=VALUE",
        help="the value of a RuntimeParameter; NAME=@FILE reads it from a file",
    )
    options.add_argument("--experiment", default="Default", help="what runs are filed under (default: Default)")
    options.add_argument("--no-cache", dest="cache", action="store_false", help="take no task from Kubeflow's cache")
    options.add_argument("--service-account", help="as which Kubernetes account tasks run")
    return options


def _later(action: str) -> Callable[[argparse.Namespace], str]:
    """The function of that name, imported when it is called."""

    def run(options: argparse.Namespace) -> str:
        from tfx_edge.kubeflow import actions

        return getattr(actions, f"{action}_command")(options)

    return run
