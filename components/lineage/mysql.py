"""Asks a MySQL or MariaDB server for ML Metadata's tables before ML Metadata itself connects.

ML Metadata tells no reason when such a server refuses it, and makes its tables where there are none. So this speaks as
much of the protocol as a login by ``mysql_native_password``, the one that ML Metadata knows, and one query need:
https://mariadb.com/kb/en/clientserver-protocol/
"""

from __future__ import annotations

import hashlib
import socket
import struct

_SECONDS = 10
_QUERY = b"\x03SELECT schema_version FROM MLMDEnv"
_LOGIN = "mysql_native_password"
_OK, _SWITCH, _ERROR = 0x00, 0xFE, 0xFF
# CLIENT_LONG_PASSWORD, CONNECT_WITH_DB, PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH
_CAPABILITIES = 0x1 | 0x8 | 0x200 | 0x8000 | 0x80000
_UTF8MB4 = 45


class RefusedError(Exception):
    """The server cannot be asked, or refuses; the message is its own where it gave one."""


def check(host: str, port: int, user: str, password: str, database: str) -> None:
    """Returns when the database has ML Metadata's tables and the user may read them.

    Raises:
      RefusedError: otherwise.
    """
    try:
        with socket.create_connection((host, port), timeout=_SECONDS) as connection:
            wire = _Wire(connection)
            wire.login(user, password, database)
            wire.query()
    except OSError as error:
        raise RefusedError(f"no connection to {host}:{port}: {error}") from error
    except (IndexError, ValueError, struct.error) as error:
        raise RefusedError(f"no MySQL server answers at {host}:{port}") from error


class _Wire:
    """Packets: three bytes of length, a sequence number, the payload."""

    def __init__(self, connection: socket.socket) -> None:
        self._stream = connection.makefile("rwb")
        self._sequence = 0

    def login(self, user: str, password: str, database: str) -> None:
        salt = _salt(self._receive())
        answer = _scramble(password, salt)
        fixed = struct.pack("<IIB23x", _CAPABILITIES, 2**24 - 1, _UTF8MB4)
        names = (user.encode(), bytes([len(answer)]) + answer + database.encode(), _LOGIN.encode())
        self._send(fixed + b"".join(name + b"\0" for name in names))
        reply = self._receive()
        if reply[0] == _SWITCH:
            method, _, salt = reply[1:].partition(b"\0")
            if method.decode() != _LOGIN:
                raise RefusedError(f"the account's login is {method.decode()}, and ML Metadata knows {_LOGIN} alone")
            self._send(_scramble(password, salt.rstrip(b"\0")))
            reply = self._receive()
        if reply[0] != _OK:
            raise ValueError(reply)

    def query(self) -> None:
        self._sequence = 0
        self._send(_QUERY)
        self._receive()

    def _receive(self) -> bytes:
        header = self._stream.read(4)
        payload = self._stream.read(int.from_bytes(header[:3], "little"))
        if not payload:
            raise ValueError("the connection ended")
        self._sequence = header[3] + 1
        if payload[0] == _ERROR:  # the code in two bytes, before a login without, then with the SQL state in six
            text = payload[3:].decode(errors="replace")
            raise RefusedError(text[6:] if text.startswith("#") else text)
        return payload

    def _send(self, payload: bytes) -> None:
        self._stream.write(len(payload).to_bytes(3, "little") + bytes([self._sequence]) + payload)
        self._stream.flush()


def _salt(greeting: bytes) -> bytes:
    if greeting[0] != 10:
        raise ValueError("another protocol")
    start = greeting.index(b"\0") + 1 + 4  # behind the version and the connection's number
    return greeting[start : start + 8] + greeting[start + 27 : start + 39]


def _scramble(password: str, salt: bytes) -> bytes:
    if not password:
        return b""
    once = hashlib.sha1(password.encode()).digest()
    mask = hashlib.sha1(salt + hashlib.sha1(once).digest()).digest()
    return bytes(a ^ b for a, b in zip(once, mask, strict=True))
