"""A board that is this machine: an sshd of its own on a free port of the loopback, with keys of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from processes import below, command_line

from tfx_edge.devices.ssh import Ssh

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def missing() -> str | None:
    """Why no board can be had here, if so."""
    if not SSHD or not shutil.which("ssh"):
        return "sshd and ssh are not installed (apt-get install openssh-server openssh-client)"
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it; Debian's service makes it at boot
    return None


class Board:
    """A running sshd.

    Attributes:
      port: where it listens.
      workdir: the folder in which targets work.
    """

    def __init__(self, folder: Path, *settings: str):
        """Starts it with further settings of sshd_config(5)."""
        self.folder = folder
        self.workdir = folder / "work dir"
        self.workdir.mkdir(parents=True)
        for name in ("host", "user", "other"):
            key = folder / name
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        (folder / "authorized_keys").write_text((folder / "user.pub").read_text())
        self.port = free_port()
        self.known("host")
        config = [
            *settings,
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {folder}/host",
            f"AuthorizedKeysFile {folder}/authorized_keys",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "SetEnv SHLVL=2",  # lets a bash skip the .bashrc of whoever runs the tests
        ]
        (folder / "sshd_config").write_text("\n".join(config) + "\n")
        self.python = self.script("python", f'PYTHONPATH={sysconfig.get_path("platlib")} exec {sys.executable} -S "$@"')
        with open(folder / "log", "w") as log:
            command = [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
            self._sshd = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"sshd does not start: {(folder / 'log').read_text()}")

    def known(self, key: str) -> Path:
        """Lets the client know the public key of this name as the board's, or none; gives the file that says so."""
        file = self.folder / f"known_{key}"
        line = f"[127.0.0.1]:{self.port} {(self.folder / f'{key}.pub').read_text()}" if key != "none" else ""
        file.write_text(line)
        return file

    def script(self, name: str, text: str) -> str:
        """A program on the board, in shell."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def ssh(self, *, key: str = "user", known: str = "host", options: tuple[str, ...] = (), **changes: object) -> Ssh:
        """The board as a target."""
        strict = (f"UserKnownHostsFile={self.known(known)}", "GlobalKnownHostsFile=/dev/null", "IdentityAgent=none")
        arguments = {
            "port": self.port,
            "identity_file": str(self.folder / key),
            "options": (*options, *strict, "StrictHostKeyChecking=yes"),
            "python": self.python,
            "workdir": str(self.workdir),
            **changes,
        }
        return Ssh("127.0.0.1", **arguments)  # type: ignore[arg-type]

    def cut_connections(self) -> None:
        """Kills all processes that serve connections; newer ones of sshd have two for each."""
        for pid in below(self._sshd.pid):
            if command_line(pid).startswith("sshd"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stops listening; connections that are left end with it."""
        self._sshd.terminate()
        self._sshd.wait()


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(condition: object, seconds: float = 5) -> bool:
    """Whether the condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
