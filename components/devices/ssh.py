"""Any Linux board that OpenSSH's own client reaches: a Raspberry Pi, a Jetson, a server.

The board needs Python 3.10 or later with NumPy and ai_edge_litert, a POSIX shell and tar. One connection is kept open
and all commands share it (``ControlMaster``), so that a round trip costs no handshake.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from tfx_edge.devices.remote import Remote
from tfx_edge.devices.ssh_directory import Login, SshDirectory
from tfx_edge.devices.workplace import Workplace
from tfx_edge.errors import ConfigError


class Ssh(Remote):
    """A Linux board, reached with the ``ssh`` on the path and, where nothing else is said, the user's own settings.

    Attributes:
      OFFERS: latency and memory, comparisons and outputs.
    """

    OFFERS: ClassVar[frozenset[str]] = frozenset({"latency", "memory", "compare", "infer"})

    def __init__(
        self,
        host: str,
        *,
        port: int | None = None,
        identity_file: str | None = None,
        options: Sequence[str] = (),
        python: str = "python3",
        workdir: str | None = None,
        connect_timeout_s: float = 15,
    ):
        """Does not reach for the board yet.

        Args:
          host: ``user@host``, ``host``, or a name from ``~/.ssh/config``.
          port: where its ssh server listens; by default what the user's settings say, or 22.
          identity_file: the private key to log in with, and no other.
          options: further settings as ``ssh -o`` takes them, for example ``"ProxyJump=gateway"``.
          python: the Python on the board, a command or a path, for example of a virtual environment.
          workdir: a folder on the board to work in; by default its folder for temporary files.
          connect_timeout_s: seconds that logging in may take.

        Raises:
          ConfigError: an argument can never work.
        """
        if not re.fullmatch(r"[^-\s]\S*", host):
            raise ConfigError(f"host of an ssh target must be like user@board, but it is {host!r}")
        if port is not None and not 0 < port < 65536:
            raise ConfigError(f"port of the ssh target {host} must be from 1 to 65535, but it is {port}")
        if not python.strip():
            raise ConfigError(
                f"python of the ssh target {host} must be a command or a path there, but it is {python!r}"
            )
        if connect_timeout_s <= 0:
            raise ConfigError(f"connect_timeout_s of {host} must be above 0, but it is {connect_timeout_s:g}")
        wrong = [option for option in options if not re.match(r"\w+[= ]\S", option)]
        if wrong:
            raise ConfigError(
                f"options of the ssh target {host} must be like 'ProxyJump=gateway', but one is {wrong[0]!r}"
            )
        self._login = Login(host, port, identity_file, tuple(options), connect_timeout_s)
        self._python = python
        self._workdir = workdir
        super().__init__(self._login.name)

    def fingerprint(self) -> str:
        """The address and the Python there: all that is known before the board is reached."""
        return f"ssh {self._login.name}, {self._python}"

    def _open(self) -> Workplace:
        return SshDirectory(self._login, self._python, self._workdir)
