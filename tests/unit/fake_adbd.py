"""A fake of Android's adbd, for the real ``adb`` binary to talk to: ``adb connect 127.0.0.1:<port>``.

It speaks adb's transport protocol (CNXN, AUTH, OPEN, OKAY, WRTE, CLSE) and the services ``shell`` and ``sync`` (send
only). Command lines run in this host's ``sh``, with a folder of fakes first on the path; so it has the protocol of a
phone, and nothing else of one. Protocol: packages/modules/adb/protocol.txt and SYNC.TXT in Android's sources.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

VERSION = 0x01000001
MAX_DATA = 256 * 1024
STDOUT, STDERR, EXIT = 1, 2, 3


class FakeAdbd:
    """A fake device that listens on a port of this host.

    Attributes:
      port: where it listens.
      commands: the command lines that it was asked to run.
      pushed: the paths of the files that were pushed to it.
      refuse_push: what it answers to a pushed file instead of taking it.
      vanish: a text; the connection breaks when a command line that contains it has written something.
    """

    def __init__(self, fakes: Path, *, shell_v2: bool = True, unauthorized: bool = False):
        """Starts to listen.

        Args:
          fakes: a folder with the programs that a phone has and this host has not; the shell starts there.
          shell_v2: whether the shell passes exit statuses on, as Android does from 7 on.
          unauthorized: whether it waits for somebody who allows the computer.
        """
        self.commands: list[str] = []
        self.pushed: list[str] = []
        self.refuse_push = ""
        self.vanish = ""
        self._fakes, self._shell_v2, self._unauthorized = fakes, shell_v2, unauthorized
        self._environment = {**os.environ, "PATH": f"{fakes}:{os.environ['PATH']}"}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Stops listening."""
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=_Connection(self, connection).serve, daemon=True).start()


class _Connection:
    def __init__(self, device: FakeAdbd, connection: socket.socket):
        self.device, self.socket = device, connection
        self.lock = threading.Lock()
        self.streams: dict[int, _Stream] = {}
        self.last = 0

    def serve(self) -> None:
        try:
            while True:
                command, first, second, size = struct.unpack("<4s3I8x", self._read(24))
                self._handle(command, first, second, self._read(size))
        except (OSError, EOFError):
            for stream in self.streams.values():
                stream.end()

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        number = struct.unpack("<I", command)[0]
        header = struct.pack("<4s5I", command, first, second, len(data), sum(data), number ^ 0xFFFFFFFF)
        with self.lock:
            self.socket.sendall(header + data)

    def vanish(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)

    def _handle(self, command: bytes, first: int, second: int, data: bytes) -> None:
        if command == b"CNXN" and not self.device._unauthorized:
            features = "shell_v2,cmd" if self.device._shell_v2 else "cmd"
            banner = f"device::ro.product.name=fake;ro.product.model=Fake;ro.product.device=fake;features={features}"
            self.send(b"CNXN", VERSION, MAX_DATA, banner.encode())
        elif command == b"CNXN" or (command == b"AUTH" and first == 2):
            self.send(b"AUTH", 1, 0, bytes(20))  # a token, again and again: no key of the computer is known
        elif command == b"OPEN":
            self.last += 1
            stream = self.streams[self.last] = _Stream(self, self.last, first)
            self.send(b"OKAY", self.last, first)
            stream.start(data.rstrip(b"\0").decode())
        elif command == b"WRTE":
            self.streams[second].received(data)
            self.send(b"OKAY", second, first)
        elif command == b"OKAY":
            self.streams[second].ready.set()
        elif command == b"CLSE" and second in self.streams:
            self.streams.pop(second).end()

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data


class _Stream:
    """One opened service."""

    def __init__(self, connection: _Connection, number: int, peer: int):
        self.connection, self.number, self.peer = connection, number, peer
        self.ready = threading.Event()  # set by the answer to a write
        self.inbox = bytearray()
        self.news = threading.Condition()
        self.ended = False

    def start(self, service: str) -> None:
        name, _, argument = service.partition(":")
        work: Callable[[], None] = self._sync
        if name.split(",")[0] == "shell":
            work = lambda: self._shell(argument, "v2" in name.split(","))  # noqa: E731
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def received(self, data: bytes) -> None:
        with self.news:
            self.inbox += data
            self.news.notify_all()

    def end(self) -> None:
        with self.news:
            self.ended = True
            self.news.notify_all()
        self.ready.set()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
            self.connection.send(b"CLSE", self.number, self.peer)
        except (OSError, EOFError):
            pass

    def _write(self, data: bytes) -> None:
        self.ready.clear()
        if self.ended:
            raise EOFError
        self.connection.send(b"WRTE", self.number, self.peer, data)
        self.ready.wait()

    def _read(self, size: int) -> bytes:
        with self.news:
            self.news.wait_for(lambda: len(self.inbox) >= size or self.ended)
            if len(self.inbox) < size:
                raise EOFError
            data = bytes(self.inbox[:size])
            del self.inbox[:size]
            return data

    def _shell(self, line: str, v2: bool) -> None:
        device = self.connection.device
        device.commands.append(line)
        process = subprocess.Popen(
            ["sh", "-c", line],
            cwd=device._fakes,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=device._environment,
            start_new_session=True,
        )
        assert process.stdout
        try:
            while data := os.read(process.stdout.fileno(), 16384):
                # Before Android 7, the shell ran in a terminal, which ends lines like this.
                self._write(struct.pack("<BI", STDOUT, len(data)) + data if v2 else data.replace(b"\n", b"\r\n"))
                if device.vanish and device.vanish in line:
                    os.killpg(process.pid, signal.SIGKILL)
                    self.connection.vanish()
        finally:
            process.stdout.close()
        status = process.wait()
        if v2:
            self._write(struct.pack("<BIB", EXIT, 1, status & 0xFF))

    def _sync(self) -> None:
        while True:
            request, size = struct.unpack("<4sI", self._read(8))
            if request == b"QUIT":
                return
            path = self._read(size).decode()
            if request == b"STAT":
                mode, length = (os.stat(path).st_mode, os.stat(path).st_size) if os.path.exists(path) else (0, 0)
                self._write(struct.pack("<4s3I", b"STAT", mode, length, 0))
            elif request == b"SEND":
                self._take(Path(path.rpartition(",")[0]))
            else:
                raise EOFError

    def _take(self, path: Path) -> None:
        content = bytearray()
        while True:
            part, size = struct.unpack("<4sI", self._read(8))
            if part == b"DONE":
                break
            content += self._read(size)
        device = self.connection.device
        problem = device.refuse_push
        if not problem:
            try:
                path.write_bytes(content)
                device.pushed.append(str(path))
            except OSError as error:
                problem = f"couldn't create file: {error.strerror}"
        message = problem.encode()
        self._write(struct.pack("<4sI", b"FAIL" if problem else b"OKAY", len(message)) + message)
