"""Which store is meant, and what is told when it cannot be read. Real servers are in tests/pipelines/test_stores.py."""

from __future__ import annotations

import logging
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forwarding_server import forwarding
from ml_metadata.proto import metadata_store_pb2 as pb
from test_history import History

from tfx_edge.cli import main
from tfx_edge.errors import ConfigError
from tfx_edge.lineage import mysql, opening
from tfx_edge.lineage.connection import PASSWORD_VARIABLE, Server, connection_config, find_metadata, parse
from tfx_edge.lineage.history import read
from tfx_edge.lineage.opening import explained
from tfx_edge.lineage.store import Store

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    history = History(tmp_path)
    history.judge()
    return history.database


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("mysql://me@127.0.0.1/store", Server("mysql", "127.0.0.1", 3306, "me", "store")),
        ("mysql://me%40home@host:3307/a%2Fb", Server("mysql", "host", 3307, "me@home", "a/b")),
        ("postgresql://me@[::1]/store", Server("postgresql", "::1", 5432, "me", "store")),
        ("grpc://metadata-grpc-service:8080", Server("grpc", "metadata-grpc-service", 8080, "", "")),
    ],
)
def test_a_url_names_a_server(url: str, server: Server) -> None:
    assert parse(url) == server


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://host/store", "no such URL of a store.*mysql://"),
        ("postgres://me@host/store", "no such URL of a store.*postgresql://"),
        ("mysql://host/store", "lacks a part"),
        ("mysql://me@host", "lacks a part"),
        ("mysql://me@/store", "lacks a part"),
        ("mysql://me@host/store/table", "one too many"),
        ("mysql://me@host/store?ssl=1", r"'\?'.*TFX_EDGE_METADATA_PASSWORD"),
        ("mysql://me@host/store#part", "one too many"),
        ("mysql://me@host:many/store", "cannot be read.*mysql://"),
        ("mysql://me@host:99999/store", "cannot be read"),
        ("grpc://host", r"no port.*grpc://HOST:PORT"),
        ("grpc://me@host:8080", "one too many"),
        ("grpc://host:8080/store", "one too many"),
    ],
)
def test_a_url_that_is_none_of_a_store_is_refused(
    url: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=told):
        find_metadata(url)
    monkeypatch.setenv("TFX_EDGE_METADATA", url)
    with pytest.raises(ConfigError, match=told):
        find_metadata(None)
    assert main(["history", "--metadata", url]) == 1
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:s3cr3t@host/store",
        "mysql://me:s3cr3t@host:many/store",
        "mysql://me:1/s3cr3t@host/store",
        "mysql://me:s3cr3t/store",
        "x://me:s3cr3t@host",
        "postgresql://me@host/store?password=s3cr3t",
        "postgresql://me@host/store#s3cr3t",
        "postgresql:me:s3cr3t@host/store",
        "me@s3cr3t/host",
        "host=host user=me password=s3cr3t",
        "postgres://host/s3cr3t",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_told(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["-v", "lineage", "ab" * 32, "--metadata", url]) == 1
    output = capfd.readouterr()
    assert "s3cr3t" not in output.out + output.err
    assert "tfx-edge: error: " in output.err


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--metadata: '.*day=1/metadata\.db' is no file"):
        find_metadata(str(tmp_path / "day=1" / "metadata.db"))


def test_a_url_from_the_environment_is_as_good_as_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFX_EDGE_METADATA", "grpc://127.0.0.1:8080")
    assert find_metadata(None) == "grpc://127.0.0.1:8080"
    assert find_metadata("grpc://127.0.0.1:9090") == "grpc://127.0.0.1:9090"


def test_the_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "it's \\ here")
    assert connection_config("mysql://me@host/store").mysql.password == "it's \\ here"
    assert connection_config("postgresql://me@host/store").postgresql.password == r"'it\'s \\ here'"
    monkeypatch.delenv(PASSWORD_VARIABLE)
    assert not connection_config("postgresql://me@host/store").postgresql.HasField("password")  # so ~/.pgpass counts


def test_a_password_that_ml_metadata_cannot_take_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "s3cr3t\udcff")
    with pytest.raises(ConfigError, match="TFX_EDGE_METADATA_PASSWORD is not UTF-8") as raised:
        connection_config("mysql://me@host/store")
    assert raised.value.__suppress_context__


def test_localhost_is_no_unix_socket() -> None:
    assert connection_config("mysql://me@localhost/store").mysql.host == "127.0.0.1"


def test_a_pipeline_writes_where_the_commands_read(tmp_path: Path) -> None:
    config = connection_config(tmp_path / "metadata.db")
    assert config.sqlite.connection_mode == pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE


def test_a_file_that_another_process_has_locked_is_told_and_read_when_it_is_free(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_LOCK_SECONDS", 0.2)
    writer = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "locked\n"
    try:
        with pytest.raises(ConfigError, match=r"locked.*another process writes to it"):
            read(database)
    finally:
        writer.communicate()
    assert len(read(database)) == 1


def test_a_database_without_the_tables_gets_none(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table other (name text)")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"metadata\.db.*no tables of ML Metadata"):
        read(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [6, 99])
def test_a_schema_of_another_version_is_told_and_kept(database: Path, version: int) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(f"update MLMDEnv set schema_version = {version}")
    before = database.read_bytes()
    with pytest.raises(ConfigError, match=rf"version {version} .*migrates nothing"):
        read(database)
    assert database.read_bytes() == before


def test_grpc_tells_what_the_file_tells(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with forwarding(connection_config(database)) as url:
        assert read(url) == read(database)
        assert main(["lineage", "ef" * 32, "--metadata", url]) == 1
        assert url in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"(?i)refused.*check that the server is up"):
        read(url)


def test_a_server_that_ends_while_it_is_read_is_told(database: Path) -> None:
    with forwarding(connection_config(database)) as url:
        store = Store(url)
        assert len(store.artifacts_of_kind("EdgeReport")) == 1
    with pytest.raises(ConfigError, match="check that the server is up"), explained(url):
        store.artifacts_of_kind("EdgeReport")


@pytest.mark.parametrize("scheme", ["mysql", "postgresql", "grpc"])
def test_a_host_that_is_none_is_told(scheme: str) -> None:
    part = "" if scheme == "grpc" else "me@"
    with pytest.raises(ConfigError, match="check the host's name"):
        read(f"{scheme}://{part}no-such-host.invalid:1" + ("" if scheme == "grpc" else "/store"))


@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
def test_a_port_where_nobody_listens_is_told(scheme: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ConfigError, match=r"(?i)refused.*check that the server is up"):
        read(f"{scheme}://me@127.0.0.1:{port}/store")


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ('FATAL: no pg_hba.conf entry for host "10.0.0.1", user "me", no encryption', "no TLS to PostgreSQL"),
        ('FATAL: password authentication failed for user "me"', "check the user, and set TFX_EDGE_METADATA_PASSWORD"),
        ("Access denied for user 'me'@'10.0.0.1' (using password: NO)", "set TFX_EDGE_METADATA_PASSWORD"),
        ("mysql_query failed: Lost connection to MySQL server during query", "check that the server is up"),
        ("mysql_real_connect failed: errno: 2059", "mysql_native_password"),
        ("Authentication plugin 'b'dialog'' not configured", "mysql_native_password"),
        ("'cryptography' package is required for sha256_password or caching_sha2_password", "mysql_native_password"),
        ("Host '10.0.0.1' is not allowed to connect to this MariaDB server", "ask for access"),
        ("Host 'a' is blocked because of many connection errors; unblock with 'mysqladmin flush-hosts'", "ask for acc"),
        ("Too many connections", "try later"),
        ("FATAL: sorry, too many clients already", "try later"),
        ("PostgreSQL metadata source error: ", "check that the server is up"),
        ("Concurrent writes aborted after max number of retries.", "another process writes to it"),
        ("ERROR: cannot execute CREATE TABLE in a read-only transaction", "it has no tables of ML Metadata"),
        ('FATAL: database "metadata" does not exist', "name with --metadata"),
        ("something else", "name with --metadata"),
    ],
)
def test_what_stores_answer_comes_with_what_to_do(reason: str, remedy: str) -> None:
    with (
        pytest.raises(ConfigError, match=rf"cannot read 'mysql://me@host/store' \(.+\); .*{remedy}"),
        explained("mysql://me@host/store"),
    ):
        raise RuntimeError(reason)


def test_neither_stderr_nor_the_logs_change_by_reading(
    database: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger("absl"), "level", logging.DEBUG)
    read(database)
    assert capfd.readouterr().err == ""
    print("still here", file=sys.stderr)
    assert capfd.readouterr().err == "still here\n"
    assert logging.getLogger("absl").level == logging.DEBUG


Answers = list[bytes]


@pytest.fixture
def stand_in() -> Iterator[Callable[[Answers], int]]:
    """A server that greets and then gives these payloads, whatever it is sent."""
    listeners: list[socket.socket] = []

    def start(answers: Answers) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=_serve, args=(listener, answers), daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.close()


def _serve(listener: socket.socket, answers: Answers) -> None:
    connection, _ = listener.accept()
    with connection:
        for number, answer in enumerate(answers):
            connection.sendall(len(answer).to_bytes(3, "little") + bytes([2 * number]) + answer)
            connection.recv(4096)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([], "Lost connection|no MySQL server answers"),
        ([b"HTTP/1.1 400 Bad Request"], "no MySQL server answers|protocol"),
        ([b"\x0a10.11\0\1"], "no MySQL server answers"),
        ([b"\xff\x10\x04Too many connections"], "Too many connections"),
    ],
    ids=["hangs up", "another server", "cut off", "full"],
)
def test_what_a_mysql_server_answers_is_told(stand_in: Callable[[Answers], int], answers: Answers, told: str) -> None:
    with pytest.raises(mysql.RefusedError, match=told):
        mysql.check("127.0.0.1", stand_in(answers), "me", "password", "store", "SELECT 1")


def test_a_password_is_sent_as_utf_8(monkeypatch: pytest.MonkeyPatch, stand_in: Callable[[Answers], int]) -> None:
    """Both ends scramble it, so what is scrambled is looked at."""
    seen: list[bytes] = []

    def scramble(password: bytes, salt: bytes) -> bytes:
        seen.append(password)
        return b"0" * 20

    monkeypatch.setattr("pymysql._auth.scramble_native_password", scramble)
    greeting = b"\x0a10.11\0\1\0\0\0" + b"a" * 8 + b"\0\xff\xf7\x2d\2\0\xff\xff\x15" + b"\0" * 10 + b"b" * 12 + b"\0"
    with pytest.raises(mysql.RefusedError, match="no entry"):
        mysql.check(
            "127.0.0.1",
            stand_in([greeting + b"mysql_native_password\0", b"\xff\x15\x04#28000no entry"]),
            "me",
            "pässwörd €",
            "store",
            "SELECT 1",
        )
    assert seen == ["pässwörd €".encode()]


def test_a_name_that_no_host_can_have_is_told() -> None:
    with pytest.raises(ConfigError, match=r"'a\.\.b' cannot be the name of a host.*check the host's name"):
        read("mysql://me@a..b/store")


def test_without_its_client_a_mysql_store_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(ConfigError, match=r"pip install 'tfx-edge\[mysql\]'"):
        read("mysql://me@127.0.0.1/store")
