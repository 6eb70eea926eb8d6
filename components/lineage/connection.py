"""Which store of ML Metadata is meant: a SQLite file, or a server by its URL.

The password of a server comes from the environment variable ``TFX_EDGE_METADATA_PASSWORD``: arguments of commands can
be read by every user of a machine.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from ml_metadata.proto import metadata_store_pb2

from tfx_edge.errors import ConfigError

ENVIRONMENT_VARIABLE = "TFX_EDGE_METADATA"
PASSWORD_VARIABLE = "TFX_EDGE_METADATA_PASSWORD"
Place: TypeAlias = Path | str
"""A SQLite file, or a URL."""

pb: Any = metadata_store_pb2
_NAMES = ("metadata.db", "metadata.sqlite")
_FOLDERS = (".", "metadata", "metadata/*", "tfx_metadata/*")
_PORTS = {"mysql": 3306, "postgresql": 5432, "grpc": None}
_FORMS = "mysql://USER@HOST:PORT/DATABASE, postgresql://USER@HOST:PORT/DATABASE or grpc://HOST:PORT"
_SECRETIVE = r"[:@]|password"  # of a name that may be a mistyped URL, and hold a password
_GRPC_SECONDS = 30.0
_GRPC_BYTES = 2**30  # gRPC's own limit is 4 MB, which some thousand artifacts exceed


@dataclass(frozen=True)
class Server:
    """A parsed URL; ``user`` and ``database`` are empty with ``grpc``."""

    scheme: str
    host: str
    port: int
    user: str
    database: str


def find_metadata(given: Place | None, near: str | Path | None = None) -> Place:
    """Finds the store.

    Args:
      given: the file or the URL as the caller named it; it wins over the environment variable ``TFX_EDGE_METADATA``.
      near: a file or folder whose ancestors are searched for a SQLite file, nearest first, before the current folder
        and its ancestors.

    Raises:
      ConfigError: there is no such file, or more than one beside each other, or the URL is none of a store.
    """
    named = str(given) if given else os.environ.get(ENVIRONMENT_VARIABLE)
    if named and is_url(named):
        parse(named)
        return named
    if named:
        if Path(named).is_file():
            return Path(named)
        source = "--metadata" if given else ENVIRONMENT_VARIABLE
        told = "what it names" if re.search(_SECRETIVE, named, re.IGNORECASE) else repr(named)
        raise ConfigError(f"{source}: {told} is no file; name the SQLite file of ML Metadata, or a server: {_FORMS}")
    return _near(near)


def is_url(place: Place) -> bool:
    """Whether a place is a server rather than a file."""
    return isinstance(place, str) and "://" in place


def parse(url: str) -> Server:
    """Takes a URL apart.

    Args:
      url: without a password; user and database with percent-encoding where they need it.

    Raises:
      ConfigError: the URL is none of a store, or holds a password. No message tells the URL: a mistyped one may hold
        a password anywhere.
    """
    if ":" in url.partition("://")[2].rpartition("@")[0] or "?" in url:
        raise ConfigError(
            "the store's URL holds a password, or a '?' and what may be one, which every user of this machine could "
            f"read; take it out and set the environment variable {PASSWORD_VARIABLE}"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # No cause either: ValueError's text may be a password without its user.
        raise ConfigError(f"the store's URL cannot be read: is its port a number? Write {_FORMS}") from None
    if parts.scheme not in _PORTS:
        raise ConfigError(f"there is no such URL of a store; name the SQLite file of ML Metadata, or write {_FORMS}")
    _check(parts)
    port = port or _PORTS[parts.scheme]
    if not port:
        raise ConfigError("the store's URL has no port; write grpc://HOST:PORT")
    host, database = parts.hostname or "", unquote(parts.path.strip("/"))
    return Server(parts.scheme, host, port, unquote(parts.username or ""), database)


def connection_config(place: Place) -> Any:
    """What `ml_metadata.MetadataStore` and a TFX pipeline's ``metadata_connection_config`` take.

    Args:
      place: a SQLite file, or a URL, whose password is taken from ``TFX_EDGE_METADATA_PASSWORD``.

    Raises:
      ConfigError: the URL is none of a store, or the password is not UTF-8.
    """
    config = pb.ConnectionConfig()
    if not is_url(place):
        config.sqlite.filename_uri = str(place)
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        return config
    server, password = parse(str(place)), _password()
    if server.scheme == "grpc":
        client = pb.MetadataStoreClientConfig(host=server.host, port=server.port, client_timeout_sec=_GRPC_SECONDS)
        client.channel_arguments.max_receive_message_length = _GRPC_BYTES
        return client
    if server.scheme == "mysql":
        config.mysql.host = "127.0.0.1" if server.host == "localhost" else server.host  # that would be a Unix socket
        config.mysql.port = server.port
        config.mysql.user = server.user
        config.mysql.database = server.database
        config.mysql.password = password
        return config
    config.postgresql.host = _quoted(server.host)
    config.postgresql.port = str(server.port)
    config.postgresql.user = _quoted(server.user)
    config.postgresql.dbname = _quoted(server.database)
    config.postgresql.skip_db_creation = True  # ML Metadata's SQL for that takes no quoted name
    if password:
        config.postgresql.password = _quoted(password)
    return config


def _password() -> str:
    password = os.environ.get(PASSWORD_VARIABLE, "")
    try:
        password.encode()
    except UnicodeEncodeError:  # no cause, since it holds the password
        raise ConfigError(f"{PASSWORD_VARIABLE} is not UTF-8, which ML Metadata asks for") from None
    return password


def _check(parts: SplitResult) -> None:
    path = parts.path.strip("/")
    complete = bool(parts.username) and bool(path) and "/" not in path
    fits = not (parts.username or path) if parts.scheme == "grpc" else complete
    if not parts.hostname or parts.fragment or not fits:
        raise ConfigError(f"the store's URL lacks a part, or has one too many; write {_FORMS}")


def _quoted(text: str) -> str:
    """ML Metadata joins these to libpq's connection string as they are."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _near(near: str | Path | None) -> Path:
    starts = [Path(near).resolve()] if near and Path(near).exists() else []
    starts.append(Path.cwd())
    for folder in (folder for start in starts for folder in (start, *start.parents)):
        for pattern in _FOLDERS:
            found = sorted(path for name in _NAMES for path in folder.glob(f"{pattern}/{name}") if path.is_file())
            if len(found) > 1:
                names = ", ".join(map(str, found))
                raise ConfigError(f"several stores of ML Metadata are near: {names}; choose one with --metadata")
            if found:
                return found[0]
    searched = " or ".join(map(str, starts))
    raise ConfigError(
        f"no {' or '.join(_NAMES)} in or above {searched}; name the SQLite file of ML Metadata or its server "
        f"with --metadata or {ENVIRONMENT_VARIABLE}"
    )
