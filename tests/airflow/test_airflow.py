"""The wine pipeline on a real Airflow: verdicts, parameters of a DAG run, failures, and running again."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from airflow_home import DAG, Airflow
from wine import Execution

from tfx_edge.lite.inspect import inspect

pytestmark = pytest.mark.airflow
LATENESS = 1800  # seconds until the scheduler must be through, on a machine that is busy


def run_id(date: str) -> str:
    return f"manual__{date}T00:00:00+00:00"


def pushed(airflow: Airflow) -> list[Path]:
    return sorted((airflow.winery.root / "pushed").glob("*"))


def blessings(airflow: Airflow) -> list[str]:
    return airflow.winery.live_below(airflow.winery.artifacts / "EdgeEvaluator" / "blessing")


def config(airflow: Airflow, node_id: str) -> dict[str, Any]:
    return json.loads(airflow.winery.node(node_id, DAG).property("config"))


@pytest.fixture(scope="module")
def first(airflow: Airflow) -> Path:
    """What the first run pushed."""
    done = airflow.test_run("2026-01-01")
    assert done.returncode == 0, done.stdout
    (folder,) = pushed(airflow)
    return folder


def test_the_candidate_is_blessed_and_pushed(airflow: Airflow, first: Path) -> None:
    assert inspect(first / "tflite").precision == "int8"
    (verdict,) = airflow.history()
    assert (verdict["run"], verdict["node"], verdict["blessed"]) == (run_id("2026-01-01"), "EdgeEvaluator", True)
    (push,) = airflow.lineage(first)["pushed"]
    assert push["destination"] == str(first)
    assert airflow.lineage(first)["sha256"] == verdict["sha256"]
    assert set(airflow.states(run_id("2026-01-01")).values()) == {"success"}


@pytest.mark.usefixtures("first")
def test_a_limit_of_the_run_that_is_not_met_pushes_nothing(airflow: Airflow) -> None:
    before = pushed(airflow)
    done = airflow.test_run("2026-01-02", gate={"thresholds": {"size_bytes": {"max": 100}}})
    assert done.returncode == 0, done.stdout
    assert "EdgeEvaluator: NOT blessed: size_bytes" in done.stdout
    states = airflow.states(run_id("2026-01-02"))
    assert states.pop("roll_out") == "skipped"
    assert set(states.values()) == {"success"}
    assert pushed(airflow) == before
    verdict = airflow.history()[-1]
    assert (verdict["run"], verdict["blessed"]) == (run_id("2026-01-02"), False)


@pytest.mark.usefixtures("first")
def test_a_run_that_is_repeated_goes_by_its_own_verdict(airflow: Airflow) -> None:
    done = airflow.test_run("2026-01-05", gate={"thresholds": {"size_bytes": {"max": 100}}})
    assert done.returncode == 0, done.stdout
    assert airflow.states(run_id("2026-01-05"))["roll_out"] == "skipped"
    done = airflow.test_run("2026-01-01")
    assert done.returncode == 0, done.stdout
    assert airflow.states(run_id("2026-01-01"))["roll_out"] == "success"


@pytest.mark.usefixtures("first")
def test_a_failed_task_leaves_nothing_blessed_and_can_run_again(airflow: Airflow) -> None:
    before = pushed(airflow), blessings(airflow)
    done = airflow.test_run("2026-01-03", quantizer={"recipe": "int7"})
    assert done.returncode != 0
    assert "ConfigError: Quantizer" in done.stdout
    states = airflow.states(run_id("2026-01-03"))
    assert states["LiteConverter"] == "success"
    assert states["Quantizer"] == "failed"
    assert {states["EdgeEvaluator"], states["Pusher"]} == {"upstream_failed"}
    assert airflow.winery.node("Quantizer", DAG).execution.last_known_state == Execution.FAILED
    assert (pushed(airflow), blessings(airflow)) == before

    gate = {"thresholds": {"accuracy": {"min": 0.7}}}
    done = airflow.test_run("2026-01-03", quantizer={"recipe": "dynamic_int8"}, gate=gate)
    assert done.returncode == 0, done.stdout
    assert set(airflow.states(run_id("2026-01-03")).values()) == {"success"}
    (new,) = set(pushed(airflow)) - set(before[0])
    assert airflow.history()[-1]["sha256"] == airflow.lineage(new)["sha256"]
    assert config(airflow, "Quantizer") == {"recipe": "dynamic_int8"}
    assert config(airflow, "EdgeEvaluator") == gate


@pytest.mark.usefixtures("first")
def test_a_verdict_does_not_stand_for_other_limits_of_the_same_run(airflow: Airflow) -> None:
    before = airflow.history()
    done = airflow.test_run("2026-01-01", gate={"thresholds": {"size_bytes": {"max": 100}}})
    assert done.returncode != 0
    assert "another value of config: start a new DAG run" in done.stdout
    assert airflow.history() == before


@pytest.mark.usefixtures("first")
def test_a_parameter_that_is_not_there_fails_before_anything_runs(airflow: Airflow) -> None:
    done = airflow.test_run("2026-01-04", gat={})
    assert done.returncode != 0
    assert "conf has gat, which is no parameter of this DAG: give quantizer, gate" in done.stdout
    assert airflow.states(run_id("2026-01-04"))["CsvExampleGen"] == "failed"


def test_the_scheduler_runs_the_dag_and_a_cleared_run_ends_well(scheduled: Airflow) -> None:
    data = scheduled.winery.data / "wine.csv"
    away = data.rename(scheduled.winery.root / data.name)

    def run_in(state: str, scheduler: subprocess.Popen[bytes]) -> str:
        deadline = time.monotonic() + LATENESS
        while time.monotonic() < deadline and scheduler.poll() is None:
            runs = scheduled.listed("dags", "list-runs", "-d", DAG)
            if runs and runs[0]["state"] == state:
                return runs[0]["run_id"]
            time.sleep(5)
        raise AssertionError((scheduled.home / "scheduler.log").read_text()[-5000:])

    with scheduled.scheduler() as scheduler:
        scheduled_run = run_in("failed", scheduler)
        assert scheduled_run.startswith("scheduled__")
        assert not blessings(scheduled)
        away.rename(data)
        assert scheduled.command("tasks", "clear", DAG, "--yes", "--only-failed", "--downstream").returncode == 0
        assert run_in("success", scheduler) == scheduled_run
    (folder,) = pushed(scheduled)
    assert scheduled.history()[-1]["run"] == scheduled_run
    assert scheduled.lineage(folder)["sha256"] == scheduled.history()[-1]["sha256"]
