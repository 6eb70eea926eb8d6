"""The verdict on a pipeline's run, read from real SQLite stores as TFX's drivers write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from test_lineage import Writer

from tfx_edge.cli import main
from tfx_edge.errors import ConfigError
from tfx_edge.lineage.newest import NotBlessedError, newest_verdict

FAILED, CACHED, RUNNING = pb.Execution.FAILED, pb.Execution.CACHED, pb.Execution.RUNNING


class Runs:
    """A store with runs of a pipeline that has a gate."""

    def __init__(self, root: Path) -> None:
        self.writer = Writer(root / "metadata" / "metadata.db")
        self.place = self.writer.path
        self.blessings: dict[int, int] = {}

    def execute(
        self,
        node: str,
        run: str,
        outputs: dict[str, int] | None = None,
        state: pb.Execution.State.ValueType = pb.Execution.COMPLETE,
        pipeline: str = "digits",
    ) -> None:
        execution = self.writer.execution(node, {}, outputs or {}, state, pipeline=pipeline)
        association = pb.Association(execution_id=execution, context_id=self.writer._context("pipeline_run", run))
        self.writer.store.put_attributions_and_associations([], [association])

    def judge(
        self,
        run: str,
        blessed: int,
        state: pb.Execution.State.ValueType = pb.Execution.COMPLETE,
        gate: str = "EdgeEvaluator",
    ) -> None:
        """A run from the cache has the artifact of an earlier one."""
        if state != CACHED:
            reason = "all checks passed" if blessed else "accuracy is too low"
            self.blessings[blessed] = self.writer.artifact("ModelBlessing", "/b", blessed=blessed, reason=reason)
        self.execute("Trainer", run)
        self.execute(gate, run, {"blessing": self.blessings[blessed]}, state)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def test_the_newest_run_counts(runs: Runs) -> None:
    runs.judge("first", 0)
    with pytest.raises(NotBlessedError, match=r"^not blessed by EdgeEvaluator in run first of digits: accuracy is too"):
        newest_verdict(runs.place)
    runs.judge("second", 1)
    assert newest_verdict(runs.place) == "blessed by EdgeEvaluator in run second of digits: all checks passed"


def test_a_verdict_from_the_cache_counts(runs: Runs) -> None:
    runs.judge("first", 1)
    runs.judge("second", 0)
    runs.judge("third", 1, CACHED)
    runs.execute("Pusher", "third")
    assert "run third" in newest_verdict(runs.place)


def test_the_blessing_of_an_earlier_run_does_not_stand_for_one_that_failed(runs: Runs) -> None:
    runs.judge("first", 1)
    runs.execute("Trainer", "second", state=FAILED)
    with pytest.raises(NotBlessedError, match=r"on run second of digits, which came to Trainer \(FAILED\)"):
        newest_verdict(runs.place)


@pytest.mark.parametrize("state", [FAILED, RUNNING])
def test_a_gate_that_did_not_end_has_no_verdict(runs: Runs, state: pb.Execution.State.ValueType) -> None:
    runs.judge("first", 1, state)
    with pytest.raises(NotBlessedError, match=f"its state is {pb.Execution.State.Name(state)}"):
        newest_verdict(runs.place)


@pytest.mark.parametrize("state", [FAILED, RUNNING])
def test_a_run_that_did_not_end_behind_the_gate_is_told(runs: Runs, state: pb.Execution.State.ValueType) -> None:
    runs.judge("first", 1)
    runs.execute("Pusher", "first", state=state)
    with pytest.raises(NotBlessedError, match=rf"the run is not complete: Pusher \({pb.Execution.State.Name(state)}\)"):
        newest_verdict(runs.place)
    assert newest_verdict(runs.place, run="first").startswith("blessed")


def test_what_was_repeated_in_the_same_run_counts(runs: Runs) -> None:
    runs.execute("Trainer", "first", state=FAILED)
    runs.judge("first", 1)
    assert newest_verdict(runs.place).startswith("blessed")


def test_a_run_is_judged_by_its_own_gate(runs: Runs) -> None:
    runs.judge("first", 0)
    runs.judge("second", 1)
    runs.execute("Trainer", "third")
    assert "blessed by EdgeEvaluator in run second" in newest_verdict(runs.place, run="second")
    with pytest.raises(NotBlessedError, match="not blessed by EdgeEvaluator in run first"):
        newest_verdict(runs.place, run="first")
    with pytest.raises(
        NotBlessedError, match="no verdict of EdgeEvaluator on run third of digits, which came to Trainer"
    ):
        newest_verdict(runs.place, run="third")
    for none in ("fourth", ""):
        with pytest.raises(ConfigError, match=f"no run '{none}' of digits"):
            newest_verdict(runs.place, run=none)


def test_a_run_of_another_pipeline_may_have_the_same_name(runs: Runs) -> None:
    runs.judge("scheduled", 1)
    runs.execute("EdgeEvaluator", "scheduled", state=FAILED, pipeline="wine")
    assert newest_verdict(runs.place, pipeline="digits", run="scheduled").startswith("blessed")
    assert newest_verdict(runs.place, pipeline="digits").startswith("blessed")


def test_a_gate_is_looked_for_in_one_pipeline(runs: Runs) -> None:
    runs.judge("first", 1)
    with pytest.raises(ConfigError, match="no node 'Gate'; its nodes are EdgeEvaluator of digits, Trainer of digits"):
        newest_verdict(runs.place, "Gate")
    with pytest.raises(ConfigError, match="no node 'EdgeEvaluator' in pipeline 'wine'"):
        newest_verdict(runs.place, "EdgeEvaluator", pipeline="wine")
    runs.execute("EdgeEvaluator", "first", pipeline="wine")
    for gate in (None, "EdgeEvaluator"):
        with pytest.raises(ConfigError, match=r"with --pipeline, .*: EdgeEvaluator of digits, EdgeEvaluator of wine"):
            newest_verdict(runs.place, gate)
        assert newest_verdict(runs.place, gate, "digits").startswith("blessed")


def test_the_only_gate_needs_no_name(runs: Runs) -> None:
    runs.execute("Trainer", "first")
    with pytest.raises(ConfigError, match="no EdgeEvaluator; its nodes are Trainer of digits"):
        newest_verdict(runs.place)
    runs.judge("first", 1, gate="EdgeEvaluator.int8")
    assert newest_verdict(runs.place).startswith("blessed by EdgeEvaluator.int8 in run first")
    runs.execute("EdgeEvaluator", "first")
    with pytest.raises(ConfigError, match=r"name NODE .*: EdgeEvaluator of digits, EdgeEvaluator.int8 of digits"):
        newest_verdict(runs.place)


def test_the_exit_status_tells(runs: Runs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs.place.parent.parent)
    runs.judge("first", 1)
    assert main(["verdict"]) == 0
    assert capsys.readouterr().out.startswith("blessed by EdgeEvaluator in run first")
    runs.judge("second", 0)
    assert main(["verdict", "EdgeEvaluator", "--pipeline", "digits", "--metadata", str(runs.place)]) == 1
    assert "not blessed by EdgeEvaluator in run second" in capsys.readouterr().err
    assert main(["verdict", "--run", "first"]) == 0
