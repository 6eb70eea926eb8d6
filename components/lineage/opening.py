"""Opens a store for reading only: nothing is created and no schema is migrated."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import ml_metadata
from ml_metadata import errors as store_errors

from tfx_edge.errors import ConfigError
from tfx_edge.lineage import mysql
from tfx_edge.lineage.connection import PASSWORD_VARIABLE, Place, connection_config, is_url, pb

_LOCK_SECONDS = 10
_CONNECT_SECONDS = 10
_REASON_LENGTH = 300
_VERSION_QUERY = "SELECT schema_version FROM MLMDEnv"
_READ_ONLY = "-c default_transaction_read_only=on"
_REMEDIES = (
    (r"database version", "use the release of ml-metadata that writes it; reading migrates nothing"),
    (
        r"read-only transaction|no such table|doesn't exist|not a database",
        "it has no tables of ML Metadata: name with --metadata what the pipeline writes to",
    ),
    (r"unknown database|database .* does not exist|unable to open", "name with --metadata what the pipeline writes to"),
    (r"not known|name of a host|name not found|dns|name resolution|translate host", "check the host's name"),
    (r"no encryption|SSL support", "ML Metadata speaks no TLS to PostgreSQL: go through a proxy on this machine"),
    (r"allowed to connect|is blocked", "ask for access to the server from this machine"),
    (r"too many (connections|clients)|connection slots", "the server is full: try later"),
    (
        r"mysql_real_connect|authentication plugin|sha\w*_password",
        "give the account a login by mysql_native_password, the one that ML Metadata knows",
    ),
    (
        r"connect|unreachable|time[d ]*out|deadline|server answers|gone away|expected authentication|source error:\s*$",
        "check that the server is up, and its port",
    ),
    (r"denied|authentication|password|pg_hba", f"check the user, and set {PASSWORD_VARIABLE}"),
    (r"lock|concurrent", "another process writes to it: wait for its end, then try again"),
)


def open_store(place: Place) -> ml_metadata.MetadataStore:
    """Connects to a store.

    Args:
      place: a SQLite file, or a URL as `connection.parse` takes them.

    Raises:
      ConfigError: there is no store that can be read; the message says why, and what to do.
    """
    config = connection_config(place)
    with explained(place), _quiet() as told:
        try:
            if isinstance(config, pb.MetadataStoreClientConfig):
                return ml_metadata.MetadataStore(config)
            return _open(config)
        except RuntimeError as error:
            raise RuntimeError(_reason(told.read_text(errors="replace")) or str(error)) from error


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """Turns what ML Metadata raises while a store is read into one error.

    Raises:
      ConfigError: says why the store cannot be read, and what to do.
    """
    try:
        yield
    except (store_errors.StatusError, RuntimeError, mysql.RefusedError, sqlite3.Error) as error:
        reason = textwrap.shorten(str(error).rstrip("."), _REASON_LENGTH, placeholder=" ...")
        remedy = next((text for pattern, text in _REMEDIES if re.search(pattern, str(error), re.IGNORECASE)), None)
        kind = "" if is_url(place) else " as a SQLite store of ML Metadata"
        raise ConfigError(
            f"cannot read {str(place)!r}{kind} ({reason}); "
            + (remedy or "name with --metadata what the pipeline writes to")
        ) from error


def _open(config: Any) -> ml_metadata.MetadataStore:
    if config.HasField("sqlite"):
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READONLY
        _check_file(config.sqlite.filename_uri)
    elif config.HasField("mysql"):
        server = config.mysql
        server.skip_db_creation = True
        mysql.check(server.host, server.port, server.user, server.password, server.database, _VERSION_QUERY)
    else:
        # What libpq reads while it connects: such a session can make no table.
        options = f"{os.environ.get('PGOPTIONS', '')} {_READ_ONLY}".strip()
        with _environment(PGOPTIONS=options, PGCONNECT_TIMEOUT=str(_CONNECT_SECONDS)):
            return ml_metadata.MetadataStore(config)
    return ml_metadata.MetadataStore(config)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _check_file(path: str) -> None:
    """ML Metadata would wait more than half a minute for a lock, and not say that it is one."""
    uri = f"{Path(path).resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=_LOCK_SECONDS)) as database:
        database.execute(_VERSION_QUERY).fetchall()


@contextmanager
def _quiet() -> Iterator[Path]:
    """Takes what ML Metadata writes to stderr, where it gives its reasons, and keeps the password out of debug logs."""
    logger = logging.getLogger("absl")
    level = logger.level
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.NamedTemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        logger.setLevel(logging.INFO if logger.isEnabledFor(logging.DEBUG) else level)
        try:
            yield Path(file.name)
        finally:
            logger.setLevel(level)
            os.dup2(saved, 2)
            os.close(saved)


def _reason(told: str) -> str:
    """What the database answered, without the marks of the log."""
    found = re.search(r"PostgreSQL error: (.+?)(?=\n[IWEF]\d{4} |\Z)", told, re.DOTALL)
    return found[1] if found else ""
