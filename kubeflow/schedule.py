"""Schedules: recurring runs of Kubeflow Pipelines, made and changed as often as one likes with the same result.

The API has no way to change a recurring run. So a digest of all that makes a schedule is kept at the end of its
description: where it is the same nothing happens; where it differs a new recurring run is made first, then the old one
is deleted, so that a failure in between leaves one too many rather than none.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from tfx_edge.errors import ConfigError
from tfx_edge.kubeflow.server import ServerSettings, asking, connect

_DIGEST = "tfx-edge:"
_PAGE = 100


@dataclass(frozen=True)
class Schedule:
    """A schedule as wanted.

    Attributes:
      name: unique in its experiment.
      package_path: the compiled pipeline, a ``.yaml`` file.
      package_digest: SHA-256 of it.
      cron: six fields, or a shorthand.
      pipeline_root: where artifacts are kept.
      arguments: values of parameters; the others keep their defaults.
      experiment: what runs are filed under.
      catch_up: whether runs that were missed are made up for.
      max_concurrency: how many of its runs may go at once.
      enabled: None leaves an existing schedule as it is, and enables a new one.
      service_account: as which Kubernetes account runs go.
      description: for people.
      cache: whether tasks may be taken from Kubeflow's cache.
    """

    name: str
    package_path: str
    package_digest: str
    cron: str
    pipeline_root: str
    arguments: dict[str, Any]
    experiment: str = "Default"
    catch_up: bool = False
    max_concurrency: int = 1
    enabled: bool | None = None
    service_account: str | None = None
    description: str = ""
    cache: bool = True

    @property
    def digest(self) -> str:
        """Tells schedules apart by all that the server keeps of them, except whether they are enabled."""
        content = [
            self.package_digest, self.cron, self.pipeline_root, self.arguments, self.catch_up, self.max_concurrency,
            self.service_account, self.description, self.cache,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Schedules:
    """The schedules of a server."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._client = connect(settings)

    def apply(self, wanted: Schedule) -> str:
        """Makes the server's schedule what is wanted.

        Returns:
          What was done, for people.

        Raises:
          ServerError: the server cannot be reached or refuses.
        """
        with asking(self._settings, f"looking for the experiment {wanted.experiment!r}"):
            experiment = self._client.create_experiment(wanted.experiment, namespace=self._settings.namespace)
        existing = [run for run in self._all(experiment.experiment_id) if run.display_name == wanted.name]
        enabled = wanted.enabled
        if enabled is None:
            enabled = all(_enabled(run) for run in existing)
        same = [run for run in existing if (run.description or "").endswith(_DIGEST + wanted.digest)]
        if same:
            kept, done = same[0], "unchanged"
            if _enabled(kept) != enabled:
                self._switch(kept, enabled)
                done = "enabled" if enabled else "disabled"
        else:
            kept, done = self._create(experiment.experiment_id, wanted, enabled), "updated" if existing else "created"
        for run in existing:
            if run.recurring_run_id != kept.recurring_run_id:
                self._delete(run)
        state = "enabled" if enabled else "disabled"
        return f"{done} schedule {wanted.name!r} ({kept.recurring_run_id}): cron '{wanted.cron}', {state}"

    def find(self, experiment: str | None = None) -> list[dict[str, Any]]:
        """All schedules, or those of an experiment: their name, id, cron, state and parameters."""
        experiment_id = None
        if experiment:
            with asking(self._settings, f"looking for the experiment {experiment!r}"):
                try:
                    found = self._client.get_experiment(experiment_name=experiment, namespace=self._settings.namespace)
                except ValueError:
                    raise ConfigError(
                        f"there is no experiment {experiment!r} on {self._settings.address}; list all by leaving "
                        "--experiment out"
                    ) from None
            experiment_id = found.experiment_id
        return [_describe(run) for run in self._all(experiment_id)]

    def switch(self, name: str, enabled: bool, experiment: str | None = None) -> str:
        """Enables or disables every schedule of a name."""
        for run in self._named(name, experiment):
            self._switch(run, enabled)
        return f"{'enabled' if enabled else 'disabled'} schedule {name!r}"

    def delete(self, name: str, experiment: str | None = None) -> str:
        """Deletes every schedule of a name; its past runs stay."""
        for run in self._named(name, experiment):
            self._delete(run)
        return f"deleted schedule {name!r}"

    def _named(self, name: str, experiment: str | None) -> list[Any]:
        found = self.find(experiment)
        same = [schedule for schedule in found if schedule["name"] == name]
        if not same:
            names = ", ".join(sorted({schedule["name"] for schedule in found})) or "none"
            raise ConfigError(f"there is no schedule {name!r} on {self._settings.address}; it has {names}")
        if len({schedule["experiment_id"] for schedule in same}) > 1:
            raise ConfigError(f"several experiments have a schedule {name!r}; give --experiment")
        return [_Named(schedule["id"], name) for schedule in same]

    def _all(self, experiment_id: str | None) -> list[Any]:
        runs: list[Any] = []
        token = ""
        while True:
            with asking(self._settings, "listing schedules"):
                answer = self._client.list_recurring_runs(
                    page_token=token,
                    page_size=_PAGE,
                    experiment_id=experiment_id,
                    namespace=None if experiment_id else self._settings.namespace,
                )
            runs += answer.recurring_runs or []
            token = answer.next_page_token or ""
            if not token:
                return runs

    def _create(self, experiment_id: str, wanted: Schedule, enabled: bool) -> Any:
        with asking(self._settings, f"creating the schedule {wanted.name!r}"):
            return self._client.create_recurring_run(
                experiment_id=experiment_id,
                job_name=wanted.name,
                description=f"{wanted.description} {_DIGEST}{wanted.digest}".strip(),
                cron_expression=wanted.cron,
                max_concurrency=wanted.max_concurrency,
                no_catchup=not wanted.catch_up,
                params=wanted.arguments,
                pipeline_package_path=wanted.package_path,
                enabled=enabled,
                pipeline_root=wanted.pipeline_root,
                service_account=wanted.service_account,
                enable_caching=None if wanted.cache else False,
            )

    def _switch(self, run: Any, enabled: bool) -> None:
        with asking(self._settings, f"{'enabling' if enabled else 'disabling'} the schedule {run.display_name!r}"):
            if enabled:
                self._client.enable_recurring_run(run.recurring_run_id)
            else:
                self._client.disable_recurring_run(run.recurring_run_id)

    def _delete(self, run: Any) -> None:
        with asking(self._settings, f"deleting the schedule {run.display_name!r} ({run.recurring_run_id})"):
            self._client.delete_recurring_run(run.recurring_run_id)


@dataclass(frozen=True)
class _Named:
    recurring_run_id: str
    display_name: str


def _enabled(run: Any) -> bool:
    return run.status != "DISABLED" if run.status else run.mode != "DISABLE"


def _describe(run: Any) -> dict[str, Any]:
    trigger = run.trigger
    cron = trigger.cron_schedule.cron if trigger and trigger.cron_schedule else None
    config = run.runtime_config
    return {
        "name": run.display_name,
        "id": run.recurring_run_id,
        "experiment_id": run.experiment_id,
        "cron": cron,
        "enabled": _enabled(run),
        "catch_up": not run.no_catchup,
        "max_concurrency": int(run.max_concurrency or 1),
        "pipeline_root": config.pipeline_root if config else None,
        "parameters": (config.parameters if config else None) or {},
        "description": (run.description or "").partition(_DIGEST)[0].strip(),
    }
