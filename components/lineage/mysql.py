"""Asks a MySQL or MariaDB server for ML Metadata's tables before ML Metadata itself connects.

ML Metadata tells no reason when such a server refuses it, and makes its tables where there are none.
"""

from __future__ import annotations

import struct

from tfx_edge.errors import ConfigError

_SECONDS = 10


class RefusedError(Exception):
    """The server cannot be asked, or refuses; the message is its own where it gave one."""


def check(host: str, port: int, user: str, password: str, database: str, query: str) -> None:
    """Returns when the server answers a query.

    Raises:
      ConfigError: PyMySQL is not installed.
      RefusedError: there is no such server, or it refuses the login, the database or the query.
    """
    try:
        import pymysql
    except ModuleNotFoundError as error:
        raise ConfigError("stores on MySQL need PyMySQL; pip install 'tfx-edge[mysql]'") from error
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise RefusedError(f"{host!r} cannot be the name of a host: {error}") from error
    try:
        with (
            pymysql.connect(
                host=host,
                port=port,
                user=user,
                password=password.encode(),  # PyMySQL would write a str as Latin-1
                database=database,
                connect_timeout=_SECONDS,
                read_timeout=_SECONDS,
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query)
    except pymysql.MySQLError as error:
        raise RefusedError(str(error.args[-1])) from error
    except (OSError, IndexError, ValueError, AssertionError, struct.error) as error:
        raise RefusedError(f"no MySQL server answers at {host}:{port}") from error
