"""A directory on a board that OpenSSH reaches, and the one connection that all commands there share.

Every command on the board hangs on its standard input, which ends when this process dies or the connection breaks: then
the board kills what runs and removes what was put there. Exit code 255 of ``ssh`` can mean anything, and a login shell
may print what it likes, so each command frames what it gives between two marks.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import select
import shlex
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tfx_edge.devices.workplace import Ended, Workplace
from tfx_edge.errors import DeviceError

BEGIN = b"tfx-edge-begin\n"
END = re.compile(rb"tfx-edge-end ([0-9]+)\n\Z")
# A connection counts as lost when three probes, this many seconds apart, find no answer.
PROBE_S = 5

# What tar says, that of GNU and that of BusyBox, when there is no room.
FULL = ("No space left", "quota exceeded", "Wrote only", "short write")

# What ssh says, and what to do about it; the first that fits. {login} is the command to log in by hand.
REMEDIES = (
    ("Could not resolve hostname", "there is no such host; check its name, or give its address"),
    ("Connection refused", "no ssh server listens there; start it, or check the port"),
    ("No route to host", "it is off or in another network; switch it on, or check its address"),
    ("Network is unreachable", "it is in a network that cannot be reached from here; check its address"),
    ("timed out", "it does not answer; switch it on, check its address, or raise connect_timeout_s"),
    (
        "IDENTIFICATION HAS CHANGED",
        "its host key is not the one that is known; if it was set up anew, forget the old key with `ssh-keygen -R`, "
        "then log in by hand with `{login}`",
    ),
    ("Host key verification failed", "its host key is not known; log in by hand with `{login}` and confirm the key"),
    ("UNPROTECTED PRIVATE KEY", "others can read the identity_file; run `chmod 600` on it"),
    ("Identity file", "there is no such identity_file on this machine; correct it"),
    (
        "Permission denied",
        "it accepts no key of this user (and nobody can be asked for a password); run `ssh-copy-id` for it, or name "
        "the right identity_file, until `{login}` asks for nothing",
    ),
)


@dataclass(frozen=True)
class Login:
    """How to log in to a board; see `tfx_edge.devices.ssh.Ssh` for the fields."""

    host: str
    port: int | None
    identity_file: str | None
    options: tuple[str, ...]
    connect_timeout_s: float

    @property
    def name(self) -> str:
        """The host, with the port when one is given."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    def command(self, *options: str, script: str) -> list[str]:
        """The ssh command that runs a POSIX shell script there, whatever the login shell is; earlier options win."""
        ours = ("BatchMode=yes", "LogLevel=ERROR", "ControlPersist=no", "ClearAllForwardings=yes", "RequestTTY=no")
        defaults = (
            f"ConnectTimeout={max(1, round(self.connect_timeout_s))}",
            f"ServerAliveInterval={PROBE_S}",
            "ServerAliveCountMax=3",
        )
        words = ["ssh"]
        for option in (*options, *ours, *self.options, *defaults):
            words += ["-o", option]
        return [*words, *self._address(), "--", self.host, f"exec sh -c {shlex.quote(script)}"]

    def explain(self, said: str) -> str:
        """What ssh said when it could not log in, with the remedy."""
        remedy = next((text for sign, text in REMEDIES if sign in said), "try to log in by hand with `{login}`")
        login = shlex.join(["ssh", *self._address(), self.host])
        return f"cannot log in to {self.name}: {remedy.format(login=login)}; ssh said: {said or 'nothing'}"

    def _address(self) -> list[str]:
        port = [] if self.port is None else ["-p", str(self.port)]
        # Without IdentitiesOnly any other key of the user's might let the login succeed.
        key = [] if self.identity_file is None else ["-i", self.identity_file, "-o", "IdentitiesOnly=yes"]
        return [*port, *key]


class SshDirectory(Workplace):
    """A fresh directory on a board. The ssh process that made it keeps the connection that later commands share."""

    def __init__(self, login: Login, python: str, workdir: str | None):
        """Logs in and makes the directory.

        Raises:
          DeviceError: the board cannot be reached or has no room for a directory; the message names the remedy.
        """
        super().__init__()
        self._login = login
        self._python = _there(python) if "/" in python else shlex.quote(python)
        # Not in TMPDIR: the path of a socket may have about 90 characters.
        self._socket = f"/tmp/tfx-edge-{secrets.token_hex(8)}"
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (as long as this object)
        parent = '"${TMPDIR:-/tmp}"' if workdir is None else _there(workdir)
        keep = (
            f'trap "" HUP TERM; d=$(mktemp -d {parent}/tfx-edge-XXXXXX) || exit 1; '
            'echo tfx-edge-begin; echo "$d"; cat >/dev/null; rm -rf "$d" 2>/dev/null || { sleep 1; rm -rf "$d"; }'
        )
        command = login.command("ControlMaster=yes", f"ControlPath={self._socket}", script=keep)
        try:
            self._master = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, start_new_session=True
            )
        except FileNotFoundError:
            raise DeviceError("there is no `ssh` on this machine; install OpenSSH's client (openssh-client)") from None
        try:
            self._path = self._first_line()
        except BaseException:
            self._master.terminate()
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether the connection is up."""
        return self._master.poll() is None

    def put(self, files: Mapping[str, Path], timeout_s: float) -> None:
        """Sends files as a tar archive."""
        with tempfile.TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for name, path in files.items():
                    tar.add(path.resolve(), arcname=name, recursive=False)
            archive.seek(0)
            script = "rm -rf in out && mkdir in out && LC_ALL=C tar -xmof -"
            code, _, said = self._call(script, archive, timeout_s)
        if code:
            full = any(sign in said for sign in FULL)
            remedy = "make room there, or name another workdir" if full else "see whether files can be written there"
            size = sum(path.stat().st_size for path in files.values())
            raise DeviceError(
                f"cannot put {size / 1e6:.1f} MB into {self._path} on {self._login.name}; {remedy}; it said: {said}"
            )

    def run(self, arguments: Sequence[str], results: Path, timeout_s: float) -> Ended:
        """Runs Python there, and kills it when this process dies, gives up, or loses the connection."""
        script = (
            f"exec 3<&0; {self._python} {shlex.join(arguments)} </dev/null >/dev/null 3<&- & p=$!; "
            "(cat <&3; kill -9 $p) >/dev/null 2>&1 & w=$!; "
            "wait $p; c=$?; kill $w; tar -cf - out; (exit $c)"
        )
        lifeline, held = os.pipe()
        try:
            with open(lifeline, "rb") as stdin:
                code, given, said = self._call(script, stdin, timeout_s)
        finally:
            os.close(held)
        if code in (126, 127):
            raise DeviceError(
                f"{self._login.name} cannot run {self._python}; install Python there, or name as python the command or "
                f"path of the one to use; it said: {said}"
            )
        try:
            _unpack(given, results)
        except tarfile.TarError as error:
            raise DeviceError(
                f"the answer of {self._login.name} cannot be read ({error}); see whether it has `tar`; it said: {said}"
            ) from error
        return Ended(128 - code if 128 < code < 193 else code, said)  # 128 + signal, says a shell

    def close(self) -> None:
        """Lets go of the standard input that keeps the directory and the connection."""
        if self._master.stdin:
            self._master.stdin.close()
        try:
            self._master.wait(PROBE_S)
        except subprocess.TimeoutExpired:
            self._master.kill()
            self._master.wait()
        if self._master.stdout:
            self._master.stdout.close()
        self._said.close()
        Path(self._socket).unlink(missing_ok=True)

    def _first_line(self) -> str:
        """The path of the directory, once it is there."""
        stdout = self._master.stdout
        assert stdout is not None
        poll = select.poll()
        poll.register(stdout, select.POLLIN | select.POLLHUP)
        # ssh itself watches ConnectTimeout; this is for a board that stalls later.
        deadline = time.monotonic() + self._login.connect_timeout_s + 1
        got = b""
        while b"\n" not in got.partition(BEGIN)[2]:
            if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
                said = f"timed out after {self._login.connect_timeout_s:g} s {self._heard()}".strip()
                raise DeviceError(self._login.explain(said))
            more = os.read(stdout.fileno(), 4096)
            if not more and self._master.wait() == 255:
                raise DeviceError(self._login.explain(self._heard()))
            if not more:
                raise DeviceError(
                    f"cannot make a directory to work in on {self._login.name}; make room there, or name a workdir "
                    f"that can be written; it said: {self._heard() or 'nothing'}"
                )
            got += more
        return got.partition(BEGIN)[2].decode(errors="replace").splitlines()[0]

    def _heard(self) -> str:
        """The last words of the connection's ssh."""
        return os.pread(self._said.fileno(), 10**6, 0).decode(errors="replace").strip()[-1000:]

    def _call(self, script: str, stdin: IO[bytes], timeout_s: float) -> tuple[int, bytes, str]:
        """Runs a shell script in the directory: its exit code, what it gave on stdout, the last it said on stderr."""
        framed = f"cd {shlex.quote(self._path)} && echo tfx-edge-begin && {{ {script}; }}; echo tfx-edge-end $?"
        # ProxyCommand: when the shared connection is gone, fail instead of making another.
        options = ("ControlMaster=no", f"ControlPath={self._socket}", "ProxyCommand=false")
        command = self._login.command(*options, script=framed)
        child = subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        with child:
            try:
                given, errors = child.communicate(timeout=max(0.0, timeout_s))
            except subprocess.TimeoutExpired:
                raise TimeoutError from None
            finally:
                child.kill()  # does nothing to a child that has ended
        said = errors.decode(errors="replace").strip()[-1000:]
        ended = END.search(given)
        if not ended:
            raise DeviceError(self._lost(said))
        return int(ended[1]), given.partition(BEGIN)[2], said

    def _lost(self, said: str) -> str:
        try:
            self._master.wait(1)
        except subprocess.TimeoutExpired:
            return (
                f"{self._login.name} ended our shell in the middle of its work, as it does when memory runs out; "
                f"it said: {said or 'nothing'}"
            )
        return (
            f"the connection to {self._login.name} was lost in the middle of the work; see whether it is still on and "
            f"its network stable; ssh said: {self._heard() or said or 'nothing'}"
        )


def _there(path: str) -> str:
    """A path on the board as a word for its shell; one that is not absolute begins at the home directory."""
    return shlex.quote(path) if path.startswith("/") else f'"$HOME"/{shlex.quote(path.removeprefix("~/"))}'


def _unpack(archive: bytes, folder: Path) -> None:
    """Takes the plain files of ``out/`` from a tar archive, wherever else its names may point."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        for member in tar:
            name = member.name.removeprefix("out/")
            content = tar.extractfile(member) if member.isfile() else None
            if content and name not in ("", ".", "..") and "/" not in name:
                (folder / name).write_bytes(content.read())
