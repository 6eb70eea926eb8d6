"""Database servers for ML Metadata, on loopback, each in a temporary folder and under a user that is not root."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "a 'secret' \\ of the tests"
USER = "tfx"
DATABASE = "metadata"
_SECONDS = 30


class Server:
    """A database server that can be killed and started again. Its data outlive it, as do those of a real one."""

    ACCOUNT: str

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="store-"))
        if os.getuid() == 0:
            account = pwd.getpwnam(self.ACCOUNT)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.initialize()
        self.start()
        self.make_database(DATABASE)

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str, user: str = USER) -> str:
        raise NotImplementedError

    def initialize(self) -> None:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def ask(self, sql: str, database: str = "") -> str:
        """Runs SQL as the user whom ML Metadata connects as."""
        raise NotImplementedError

    def make_database(self, name: str) -> None:
        self.ask(f"create database {name}")

    def start(self) -> None:
        self._process = subprocess.Popen(self.command(), cwd=self.folder, **self._user(), **_SILENT)
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            try:
                self.ask("select 1")
                return
            except subprocess.CalledProcessError:
                time.sleep(0.1)
        raise TimeoutError(f"no answer from {self.command()[0]}: {self.log()}")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("*.log"))

    def run(self, command: Sequence[str | Path], text: str = "", **environment: str) -> str:
        done = subprocess.run(
            command,
            input=text,
            text=True,
            capture_output=True,
            check=True,
            cwd=self.folder,
            env={**os.environ, **environment},
            **self._user(),
        )
        return done.stdout

    def _user(self) -> dict[str, Any]:
        return {"user": self.ACCOUNT, "group": self.ACCOUNT} if os.getuid() == 0 else {}


class MariaDB(Server):
    """Debian's mariadb-server."""

    ACCOUNT = "mysql"

    def url_of(self, database: str, user: str = USER) -> str:
        return f"mysql://{user}@127.0.0.1:{self.port}/{database}"

    def initialize(self) -> None:
        self.run([_tool("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder}/data", "--skip-test-db",
                  "--auth-root-authentication-method=normal"])  # fmt: skip
        text = PASSWORD.replace("\\", "\\\\").replace("'", "''")
        (self.folder / "users.sql").write_text(
            f"create user {USER}@127.0.0.1 identified by '{text}';\ngrant all on *.* to {USER}@127.0.0.1;\n"
        )

    def command(self) -> list[str]:
        return [str(_tool("mariadbd")), "--no-defaults", f"--datadir={self.folder}/data", f"--port={self.port}",
                f"--socket={self.folder}/socket", "--bind-address=127.0.0.1", f"--log-error={self.folder}/server.log",
                f"--pid-file={self.folder}/pid", "--innodb-flush-log-at-trx-commit=2", "--skip-name-resolve",
                *self._once()]  # fmt: skip

    def ask(self, sql: str, database: str = "") -> str:
        command: list[str | Path] = [
            _tool("mariadb"),
            "--no-defaults",
            "--host=127.0.0.1",
            f"--port={self.port}",
            f"--user={USER}",
            "-N",
        ]
        return self.run([*command, database], sql, MYSQL_PWD=PASSWORD).strip()

    def _once(self) -> list[str]:
        return [] if (self.folder / "pid").exists() or self._process else [f"--init-file={self.folder}/users.sql"]


class PostgreSQL(Server):
    """Debian's postgresql."""

    ACCOUNT = "postgres"

    def url_of(self, database: str, user: str = USER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def initialize(self) -> None:
        (self.folder / "password").write_text(f"{PASSWORD}\n")
        (self.folder / "password").chmod(0o644)
        self.run([_tool("initdb"), "--pgdata=data", f"--username={USER}", "--pwfile=password",
                  "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8"])  # fmt: skip

    def command(self) -> list[str]:
        return [str(_tool("postgres")), "-D", f"{self.folder}/data", "-p", str(self.port), "-h", "127.0.0.1",
                "-k", str(self.folder), "-F"]  # fmt: skip

    def ask(self, sql: str, database: str = "postgres") -> str:
        command: list[str | Path] = [
            _tool("psql"),
            "-q",
            "-A",
            "-t",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            USER,
            database,
        ]
        return self.run([*command, "-v", "ON_ERROR_STOP=1"], sql, PGPASSWORD=PASSWORD).strip()


_SILENT: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def started(kind: type[Server]) -> Server:
    """A server, or a skipped test where the machine has none."""
    names = {MariaDB: ("mariadbd", "mariadb-install-db", "mariadb"), PostgreSQL: ("postgres", "initdb", "psql")}[kind]
    missing = [name for name in names if _find(name) is None]
    if missing:
        pytest.skip(f"{kind.__doc__} is needed: this machine has no {', '.join(missing)}")
    return kind()


def _tool(name: str) -> Path:
    found = _find(name)
    assert found is not None
    return found


def _find(name: str) -> Path | None:
    """Debian keeps PostgreSQL's programs out of the path."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    if versions:
        return versions[0]
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    return Path(found) if found else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
