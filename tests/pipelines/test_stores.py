"""A pipeline, `tfx-edge lineage` and `tfx-edge history` on real MariaDB and PostgreSQL servers, one of which dies."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import ml_metadata
import pytest
import small_pipeline
import store_servers
from ml_metadata import errors
from ml_metadata.proto import metadata_store_pb2 as pb
from store_servers import MariaDB, PostgreSQL, Server

from tfx_edge.cli import main
from tfx_edge.errors import ConfigError
from tfx_edge.lineage.connection import PASSWORD_VARIABLE, connection_config
from tfx_edge.lineage.history import read

sys.path.append(str(Path(__file__).parents[1] / "unit"))

from forwarding_server import forwarding

pytestmark = pytest.mark.pipeline

LOST = (RuntimeError, errors.StatusError)
NODES = ("ImportExampleGen", "Quantizer", "EdgeEvaluator", "Pusher")


@dataclass(frozen=True)
class Filled:
    """A server on which a pipeline died with it, could not start while it was down, and then ran to its end."""

    server: Server
    root: Path
    pushed_before: list[Path]
    told_before: str

    def states(self) -> dict[str, list[int]]:
        """The states of each node's executions, oldest first."""
        store = ml_metadata.MetadataStore(connection_config(self.server.url))
        found: dict[str, list[int]] = {}
        for execution in sorted(store.get_executions(), key=lambda each: each.id):
            found.setdefault(execution.type.rpartition(".")[2], []).append(execution.last_known_state)
        return {node: found.get(node, []) for node in NODES}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    small_pipeline.write_inputs(folder)
    return folder


@pytest.fixture(scope="module", params=[MariaDB, PostgreSQL])
def filled(request: pytest.FixtureRequest, inputs: Path) -> Iterator[Filled]:
    from tfx_edge.edge_evaluator.executor import Executor

    server = store_servers.started(request.param)
    root = inputs / request.param.__name__
    judge = Executor.Do

    def judge_and_lose_the_store(self: Any, *arguments: Any) -> None:
        judge(self, *arguments)
        server.kill()

    try:
        with mock.patch.dict(os.environ, {PASSWORD_VARIABLE: store_servers.PASSWORD}):
            pipeline = small_pipeline.create(inputs, connection_config(server.url), root)
            with mock.patch.object(Executor, "Do", judge_and_lose_the_store), pytest.raises(LOST):
                small_pipeline.run(pipeline)
            with pytest.raises(LOST):  # it is still down
                small_pipeline.run(pipeline)
            pushed = small_pipeline.pushed(root)
            server.start()
            with pytest.raises(ConfigError) as told:
                read(server.url)
            small_pipeline.run(pipeline)
            yield Filled(server, root, pushed, str(told.value))
    finally:
        server.stop()


def test_a_store_that_dies_in_a_run_leaves_nothing_blessed_or_pushed(filled: Filled) -> None:
    assert (filled.root / "artifacts" / "EdgeEvaluator" / "blessing").exists()  # the executor had come to its end
    assert filled.pushed_before == []
    assert "no report of an EdgeEvaluator" in filled.told_before


def test_the_next_run_goes_on_where_the_store_died(filled: Filled) -> None:
    complete, cached = pb.Execution.COMPLETE, pb.Execution.CACHED
    states = filled.states()
    assert states["ImportExampleGen"] == states["Quantizer"] == [complete, cached]
    assert states["EdgeEvaluator"][-1] == complete
    assert states["EdgeEvaluator"].count(complete) == 1
    assert states["Pusher"] == [complete]
    assert len(small_pipeline.pushed(filled.root)) == 1


def test_lineage_and_history_read_the_server(filled: Filled, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = small_pipeline.pushed(filled.root)
    assert main(["lineage", str(file), "--metadata", filled.server.url, "--json"]) == 0
    lineage = json.loads(capsys.readouterr().out)
    assert [step["component"] for step in lineage["steps"]] == ["Quantizer", "import.schema", "import.float",
                                                                "ImportExampleGen"]  # fmt: skip
    assert [verdict["blessed"] for verdict in lineage["verdicts"]] == [True]
    assert [push["destination"] for push in lineage["pushed"]] == [str(file.parent)]
    assert lineage["examples"][0]["split_names"] == ["train", "eval"]
    assert main(["history", "--metadata", filled.server.url, "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["node"], entry["blessed"]) == ("EdgeEvaluator", True)
    assert entry["figures"]["size_bytes"] == file.stat().st_size


def test_grpc_tells_the_same_and_carries_a_run(
    filled: Filled, inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = small_pipeline.pushed(filled.root)
    with forwarding(connection_config(filled.server.url)) as url:
        for command in (["lineage", str(file), "--json"], ["history", "--json"]):
            answers = []
            for place in (filled.server.url, url):
                assert main([*command, "--metadata", place]) == 0
                answers.append(capsys.readouterr().out)
            assert answers[0] == answers[1]
        small_pipeline.run(small_pipeline.create(inputs, connection_config(url), filled.root))
    assert {states[-1] for states in filled.states().values()} == {pb.Execution.CACHED}


def test_reading_makes_no_tables_and_no_database(filled: Filled) -> None:
    server = filled.server
    server.make_database("empty")
    for database, told in (("empty", "no tables of ML Metadata"), ("absent", "absent")):
        with pytest.raises(ConfigError, match=told):
            read(server.url_of(database))
    tables = "select count(*) from information_schema.tables where table_schema in ('empty', 'public')"
    assert server.ask(tables, "empty") == "0"
    with pytest.raises(ConfigError, match="absent"):
        read(server.url_of("absent"))


@pytest.mark.parametrize("version", [9, 11])
def test_a_schema_of_another_version_is_told_and_kept(filled: Filled, version: int) -> None:
    server = filled.server
    name = "MLMDEnv" if isinstance(server, MariaDB) else "mlmdenv"
    query = f"select schema_version from {name}"
    own = server.ask(query, store_servers.DATABASE)
    server.ask(f"update {name} set schema_version = {version}", store_servers.DATABASE)
    try:
        with pytest.raises(ConfigError, match=rf"version {version} .*migrates nothing"):
            read(server.url)
        assert server.ask(query, store_servers.DATABASE) == str(version)
    finally:
        server.ask(f"update {name} set schema_version = {own}", store_servers.DATABASE)


def test_a_refused_login_names_the_variable_and_never_a_password(
    filled: Filled, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", "--metadata", filled.server.url_of(store_servers.DATABASE, "nobody")]) == 1
    assert PASSWORD_VARIABLE in capfd.readouterr().err
    monkeypatch.setenv(PASSWORD_VARIABLE, "s3cr3t")
    assert main(["-v", "history", "--metadata", filled.server.url]) == 1
    output = capfd.readouterr()
    assert PASSWORD_VARIABLE in output.err
    assert "s3cr3t" not in output.out + output.err


def test_what_went_right_tells_no_password_either(filled: Filled, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["-v", "history", "--metadata", filled.server.url]) == 0
    output = capfd.readouterr()
    assert "secret" not in output.out + output.err


def test_a_store_that_is_down_is_told_and_back_again_is_read(filled: Filled) -> None:
    """The last test of a server: it is killed."""
    filled.server.kill()
    with pytest.raises(ConfigError, match=r"(?i)refused.*check that the server is up"):
        read(filled.server.url)
    filled.server.start()
    assert len(read(filled.server.url)) == 1
