"""When an evaluation goes to Beam, on which engine, and in how many pieces."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tfx_edge.edge_evaluator.beam import has_workers, job
from tfx_edge.errors import ConfigError, DataError
from tfx_edge.gate.beam_engine import ONE_PROCESS_RUNNER, PROCESSES_RUNNER, Engine
from tfx_edge.gate.beam_job import last_exception
from tfx_edge.gate.beam_parts import Piece, encode, part_path, result, weave, write
from tfx_edge.gate.scoring import Plan, ScoredModel, Scores
from tfx_edge.gate.slices import Categories

TWO = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], False),
        (["--runner=DirectRunner"], False),
        (["--runner=directrunner"], False),
        (["--runner=direct"], False),
        (["--runner", "DirectRunner", "--direct_num_workers=2"], False),
        (["--runner=apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"], False),
        (["--runner=BundleBasedDirectRunner", *TWO], False),
        (["--runner=PrismRunner"], False),
        (TWO, True),
        (["--runner=DirectRunner", *TWO], True),
        (["--direct_running_mode=multi_processing", "--direct_num_workers=0"], True),
        (["--direct_running_mode", "multi_threading", "--direct_num_workers", "2"], True),
        (["--direct_running_mode", "multi_processing", "--direct_num_workers", "1"], False),
        (["--direct_running_mode=multi_processing"], False),
        (["--runner=DataflowRunner"], True),
        (["--runner=DataflowRunner", "--project=p", "--direct_running_mode=multi_processing"], True),
        (["--runner=DataflowRunner", "--project=p", "--runner=DirectRunner"], False),
        (["--runner=FlinkRunner"], True),
        (["--runner", "FlinkRunner"], True),
        (["--runner=SparkRunner"], True),
        (["--runner=PortableRunner", "--job_endpoint=localhost:8099"], True),
        (["--runner=DaskRunner"], True),
        (["--runner=apache_beam.runners.dask.dask_runner.DaskRunner"], True),
        (["--runner", "X"], True),
        (["--runner"], False),
    ],
)
def test_beam_is_used_where_it_has_workers(arguments: list[str], expected: bool) -> None:
    assert has_workers(arguments) is expected


@pytest.mark.parametrize(
    ("hooks", "label_key", "why"),
    [({"input_fn": print}, "label", "the module's input_fn reads them"), ({}, None, "there is no label_key")],
)
def test_workers_that_are_not_used_are_told_of(hooks: dict[str, Any], label_key: str | None, why: str) -> None:
    request = SimpleNamespace(properties={"beam_pipeline_args": TWO})
    lines: list[str] = []
    assert job(SimpleNamespace(request=request, user_code=hooks, label_key=label_key), lines.append) is None
    assert lines == [f"Beam's workers do not score the examples, for {why}; this process does"]


@pytest.mark.parametrize(
    ("arguments", "runner"),
    [
        ([], ONE_PROCESS_RUNNER),
        (["--runner=DirectRunner"], ONE_PROCESS_RUNNER),
        (TWO, PROCESSES_RUNNER),
        (["--runner", "DirectRunner", *TWO], PROCESSES_RUNNER),
        (["--runner=FlinkRunner"], "FlinkRunner"),
        (["--runner=DaskRunner"], "apache_beam.runners.dask.dask_runner.DaskRunner"),
        (["--runner=own.dask_runner.DaskRunner"], "own.dask_runner.DaskRunner"),
    ],
)
def test_the_runner_that_beam_is_given(arguments: list[str], runner: str) -> None:
    given = Engine.parse([*arguments, "--tfx_edge_stripes=2"]).beam_arguments
    assert given[0] == f"--runner={runner}"
    others = [argument for argument in given[1:] if argument.startswith(("--runner", "--tfx_edge"))]
    assert others == []


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        (["--runner=DaskRunner"], ["--dask_partition_size=1"]),
        (["--runner=DaskRunner", "--dask_partition_size", "2"], ["--dask_partition_size=2"]),
        (["--runner=DaskRunner", "--dask_npartitions=2"], ["--dask_npartitions=2"]),
        (TWO, []),
    ],
)
def test_dask_spreads_the_pieces_over_its_workers(arguments: list[str], sizes: list[str]) -> None:
    assert [given for given in Engine.parse(arguments).beam_arguments if "partition" in given] == sizes


@pytest.mark.parametrize(
    ("arguments", "files", "stripes"),
    [
        ([], 1, 1),
        (TWO, 1, 2),
        (TWO, 2, 1),
        (TWO, 3, 2),
        (TWO, 4, 1),
        (TWO, 9, 1),
        (["--runner=FlinkRunner", "--parallelism=8"], 6, 4),
        (["--runner=FlinkRunner", "--parallelism=-1"], 6, 1),
        (["--runner=DataflowRunner", "--num_workers", "2", "--max_num_workers=10"], 1, 10),
        (["--runner=PortableRunner"], 1, 1),
        (["--runner=PortableRunner", "--tfx_edge_stripes=5"], 100, 5),
        (["--runner=DaskRunner", "--dask_client_address=tcp://localhost:1"], 1, 1),
    ],
)
def test_few_files_are_split_evenly(arguments: list[str], files: int, stripes: int) -> None:
    assert Engine.parse(arguments).stripes(files) == stripes


def test_all_cores_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert Engine.parse([TWO[0], "--direct_num_workers=0"]).stripes(1) == 6
    assert Engine.parse(["--runner=DaskRunner"]).stripes(1) == 6


@pytest.mark.parametrize("value", ["0", "-1", "many", ""])
@pytest.mark.parametrize("name", ["start_timeout_s", "batch_timeout_s"])
def test_a_limit_that_is_no_number(name: str, value: str) -> None:
    engine = Engine.parse([f"--tfx_edge_{name}={value}"])
    with pytest.raises(ConfigError, match=f"--tfx_edge_{name} is '{value}', but it takes a number above 0"):
        getattr(engine, name)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--runner=PortableRunner"], "--job_endpoint=<host>:<port>"),
        (["--runner=DataflowRunner", "--region=r"], "reads local paths only.*--runner=DirectRunner.*mount"),
    ],
)
def test_an_engine_that_cannot_work_is_refused(arguments: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Engine.parse(arguments).require_usable()


def test_an_engine_that_may_work_is_not_refused() -> None:
    Engine.parse(["--runner=PortableRunner", "--job_endpoint", "localhost:1"]).require_usable()


class TestWeave:
    def test_puts_batches_of_stripes_in_the_order_of_the_file(self) -> None:
        """20 examples in batches of 3: numbers 0 to 6, the last of 2 examples, for three readers."""
        batches = np.split(np.arange(20), range(3, 20, 3))
        found = weave([stripe_of(np.concatenate(batches[stripe::3])) for stripe in range(3)], "file", 3)
        assert found.read == 20
        assert found.columns["candidate", "m", "c"].tolist() == list(range(20))
        values = np.array(found.categories["site"].values)[found.codes["site"]]
        assert values.tolist() == [number % 4 for number in range(20)]

    def test_more_stripes_than_batches(self) -> None:
        parts = [stripe_of(np.arange(2)), stripe_of(np.arange(0)), stripe_of(np.arange(0))]
        assert weave(parts, "file", 3).columns["candidate", "m", "c"].tolist() == [0, 1]

    @pytest.mark.parametrize("counts", [(3, 5), (4, 2), (0, 3), (6, 0)])
    def test_stripes_that_make_no_whole_file(self, counts: tuple[int, int]) -> None:
        with pytest.raises(DataError, match=r"examples were lost"):
            weave([stripe_of(np.arange(count)) for count in counts], "file", 3)


class TestTexts:
    @pytest.mark.parametrize("texts", [["cat", "dögge"], [b"\x00\xff", b""], [["a", ""], ["b", "cc"]], []], ids=repr)
    def test_come_back_as_they_were(self, tmp_path: Path, texts: list[Any]) -> None:
        kept = np.array(texts, object)
        piece = Piece(0, "file", 0, 1)
        write(part_path(str(tmp_path), 0), encode(Scores(len(kept), {("candidate", "own", "labels"): kept})))
        found = result(str(tmp_path), piece).columns["candidate", "own", "labels"]
        assert (found.dtype, found.tolist()) == (kept.dtype, texts)

    @pytest.mark.parametrize("values", [[b"a\x00"], [1], [None, "a"], ["a", b"a"]], ids=repr)
    def test_what_would_not_come_back_is_refused(self, values: list[Any]) -> None:
        scores = Scores(len(values), {("candidate", "own", "labels"): np.array(values, object)})
        with pytest.raises(DataError, match=r"the metric own keeps objects .* give it numbers"):
            encode(scores)


def test_every_column_must_have_all_examples() -> None:
    lost = {("candidate", "own", "labels"): np.zeros(3), ("candidate", "own", "outputs"): np.zeros(4)}
    plan = Plan({"candidate": ScoredModel(b"", "", None, 2)}, [], [], None, 1)
    with pytest.raises(DataError, match="4 examples were read, but 3 were kept for own of candidate"):
        Scores(4, lost).check(plan)


def stripe_of(numbers: np.ndarray) -> Scores:
    categories = Categories()
    codes = categories.encode("site", numbers % 4)
    return Scores(len(numbers), {("candidate", "m", "c"): numbers}, {"site": codes}, {"site": categories})


def test_of_a_traceback_the_exception_is_told() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second\nof two lines") from error
    except ValueError:
        import traceback

        text = traceback.format_exc()
    assert last_exception(f"Pipeline failed: {text}") == "ValueError: second of two lines"
    assert last_exception("no traceback") == "no traceback"
