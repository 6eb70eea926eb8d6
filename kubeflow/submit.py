"""Runs a compiled pipeline once and follows it to its verdict.

What it relies on is what every Kubeflow Pipelines v2 answers: the state of a run and of its tasks. A gate's verdict is
the state of its marker task, see `tfx_edge.kubeflow.verdicts`; the reason stands in the user interface, among the
gate's output parameters.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tfx_edge.errors import EdgeError
from tfx_edge.kubeflow import spec as parts
from tfx_edge.kubeflow import verdicts
from tfx_edge.kubeflow.package import Package
from tfx_edge.kubeflow.server import ServerError, ServerSettings, asking, connect

_ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
_PATIENCE = 10
_TOLD = {"RUNNING": "runs", "SUCCEEDED": "done", "FAILED": "FAILED", "SKIPPED": "skipped", "CANCELED": "canceled"}


class RunError(EdgeError):
    """A run failed, or a gate that decides did not bless its model."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
      run_id: its id.
      verdicts: of each gate "blessed", "not blessed", or None where it is not known.
      deciding: the gates that decide.
    """

    run_id: str
    verdicts: dict[str, str | None]
    deciding: list[str]

    @property
    def blessed(self) -> bool:
        """Whether every gate that decides blessed its model; a run without gates has nothing that says so."""
        return bool(self.deciding) and all(self.verdicts[gate] == verdicts.BLESSED for gate in self.deciding)

    def to_text(self) -> str:
        """One line for each gate."""
        return "\n".join(
            f"{gate}: {verdict or 'no verdict'}" + ("" if gate in self.deciding else " (decides nothing)")
            for gate, verdict in self.verdicts.items()
        )


def submit(
    settings: ServerSettings,
    package: Package,
    pipeline_root: str,
    arguments: dict[str, Any],
    experiment: str = "Default",
    service_account: str | None = None,
    cache: bool = True,
) -> str:
    """Starts a run.

    Returns:
      Its id.

    Raises:
      ServerError: the server cannot be reached or refuses.
    """
    client = connect(settings)
    name = f"{package.name} {datetime.datetime.now():%Y-%m-%d %H-%M-%S}"
    with asking(settings, f"looking for the experiment {experiment!r}"):
        experiment_id = client.create_experiment(experiment, namespace=settings.namespace).experiment_id
    with asking(settings, f"starting the run {name!r}"):
        run = client.run_pipeline(
            experiment_id=experiment_id,
            job_name=name,
            pipeline_package_path=str(package.file),
            params=arguments,
            pipeline_root=pipeline_root,
            enable_caching=None if cache else False,
            service_account=service_account,
        )
    return run.run_id


def follow(
    settings: ServerSettings,
    run_id: str,
    tell: Callable[[str], None],
    interval: float = 10.0,
    limit: float | None = None,
    spec: dict[str, Any] | None = None,
    gates: list[str] | None = None,
) -> Outcome:
    """Waits for the end of a run, and tells each change of a task's state.

    A server that is away for a while is waited for: up to ten questions in a row may fail.

    Args:
      settings: how the server is reached.
      run_id: the run.
      tell: takes one line.
      interval: seconds between questions.
      limit: seconds after which it is given up; the run goes on.
      spec: the pipeline's spec; None takes what the server keeps.
      gates: the gates that decide; None takes those whose blessing a task such as Pusher takes.

    Raises:
      RunError: the run failed or was canceled.
      ServerError: the server stays away, or the limit has passed.
      ConfigError: there is no such gate.
    """
    client = connect(settings)
    started = time.monotonic()
    told: dict[str, str] = {}
    while True:
        run = _ask(client, settings, run_id, tell, interval)
        spec = spec or _spec_of(run)
        deciding = verdicts.deciding_gates(spec, gates)
        states = _states(run, spec)
        for name, state in states.items():
            if state in _TOLD and told.get(name) != state:
                tell(f"{_now()} {name}: {_TOLD[state]}")
                told[name] = state
        if run.state in _ENDED:
            break
        if limit is not None and time.monotonic() - started > limit:
            raise ServerError(
                f"the run {run_id} did not end within {limit:g} s and goes on; follow it again with "
                f"'tfx-edge kubeflow follow {run_id}'"
            )
        time.sleep(interval)
    if run.state != "SUCCEEDED":
        raise RunError(_why_failed(run, spec))
    found = {gate: _verdict(states.get(marker)) for gate, marker in verdicts.gates(spec).items()}
    return Outcome(run_id, found, deciding)


def _ask(client: Any, settings: ServerSettings, run_id: str, tell: Callable[[str], None], interval: float) -> Any:
    """The run as the server has it; waits for a server that is away."""
    failures = 0
    while True:
        try:
            with asking(settings, f"following the run {run_id}"):
                return client.get_run(run_id)
        except ServerError as error:
            failures += 1
            if not error.passing or failures > _PATIENCE:
                raise
            tell(f"{_now()} the server does not answer; asking again")
            time.sleep(interval)


def _states(run: Any, spec: dict[str, Any]) -> dict[str, str]:
    """The states of the pipeline's tasks; the server also tells of parts of them."""
    tasks = parts.tasks(spec)
    return {detail.display_name: detail.state for detail in _details(run) if detail.display_name in tasks}


def _spec_of(run: Any) -> dict[str, Any]:
    spec = run.pipeline_spec or {}
    spec = spec.get("pipeline_spec", spec)
    if "root" not in spec:
        raise ServerError(f"the server does not tell the pipeline of the run {run.run_id}; submit it with its file")
    return spec


def _details(run: Any) -> list[Any]:
    return (run.run_details.task_details if run.run_details else None) or []


def _verdict(state: str | None) -> str | None:
    return {"SUCCEEDED": verdicts.BLESSED, "SKIPPED": verdicts.NOT_BLESSED}.get(state or "")


def _why_failed(run: Any, spec: dict[str, Any]) -> str:
    names = {
        (detail.display_name or "").removesuffix("-driver") for detail in _details(run) if detail.state == "FAILED"
    }
    failed = sorted(names & set(parts.tasks(spec)))
    where = f" in {', '.join(failed)}" if failed else ""
    why = f": {run.error.message}" if run.error and run.error.message else ""
    return f"the run {run.run_id} ended as {run.state}{where}{why}; see the logs of its tasks in the user interface"


def _now() -> str:
    return f"{datetime.datetime.now():%H:%M:%S}"
