"""The ``adb`` binary of Android's platform tools, with errors that say what to do."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfx_edge.errors import DeviceError

# What adb says, and what to do about it.
_REMEDIES = (
    ("unauthorized", "unlock the phone and allow USB debugging for this computer"),
    ("no permissions", "let this user open the device: install Android's udev rules or join the group plugdev"),
    ("offline", "unplug it and plug it in again, or restart it"),
    ("more than one", "say which in serial"),
    ("no devices", "connect the phone, switch on USB debugging, and see that `adb devices` lists it"),
    ("not found", "see that `adb devices` lists it, and that serial is right"),
    ("No space left", "free space on it, or choose another remote_dir"),
    ("Read-only file system", "choose another remote_dir, such as /data/local/tmp"),
    ("Permission denied", "choose another remote_dir, such as /data/local/tmp"),
    ("cannot connect to daemon", "see whether `adb start-server` works on this computer"),
)
# A shell on Android before 7 passes no exit status on, and a lost connection looks like success: so it is printed.
_STATUS = re.compile(r"^tfx-edge-status=(\d+)\s*$", re.MULTILINE)
_PROCESS = re.compile(r"^tfx-edge-process=(\d+)\s*$", re.MULTILINE)
CLEAN_UP_S = 10


class AdbTimeoutError(DeviceError):
    """The device did not finish in time."""


@dataclass(frozen=True)
class Finished:
    """A command that came to its end on the device.

    Attributes:
      status: its exit status; 128 and more is a signal.
      output: what it wrote, both streams together.
    """

    status: int
    output: str


class AdbClient:
    """One device as ``adb`` reaches it.

    Every method raises `DeviceError` when adb is missing, or the device is absent, not ready or lost.
    """

    def __init__(self, adb: str = "adb", serial: str | None = None):
        """Reaches for nothing yet.

        Args:
          adb: the binary, a command or a path.
          serial: which device, as ``adb devices`` lists it; by default the only one there is.
        """
        self._command = [adb, *(["-s", serial] if serial else [])]
        self.name = f"device {serial}" if serial else "the device"

    def check(self, timeout_s: float) -> None:
        """Sees that the device is there and ready."""
        state = self._adb(["get-state"], timeout_s)
        if state.status != 0 or state.output.strip().splitlines()[-1:] != ["device"]:
            raise self._problem("is not ready", state.output + self._listed(state.output))

    def push(self, source: Path, destination: str, timeout_s: float) -> None:
        """Copies a file to the device."""
        done = self._adb(["push", str(source), destination], timeout_s)
        if done.status != 0:
            raise self._problem(f"did not take {source} as {destination}", done.output)

    def shell(self, command: str, timeout_s: float) -> Finished:
        """Runs a command line in the device's shell to its end."""
        done = self._adb(["shell", f"{{ {command}\n}} 2>&1; status=$?; echo; echo tfx-edge-status=$status"], timeout_s)
        return self._finished(done.output)

    def run(self, arguments: Sequence[str], timeout_s: float) -> Finished:
        """Runs a program on the device to its end; one that takes too long is killed there."""
        line = shlex.join(arguments)
        script = (
            f"{line} 2>&1 &\n"
            "child=$!; echo tfx-edge-process=$child; wait $child; status=$?; echo; echo tfx-edge-status=$status"
        )
        try:
            done = self._adb(["shell", script], timeout_s)
        except AdbTimeoutError as error:
            for number in _PROCESS.findall(str(error.__cause__)):
                self.try_shell(f"kill -9 {number}")
            raise
        finished = self._finished(done.output)
        return Finished(finished.status, _PROCESS.sub("", finished.output))

    def try_shell(self, command: str) -> None:
        """Runs a command line that tidies up, as well as it goes."""
        with contextlib.suppress(DeviceError):
            self.shell(command, CLEAN_UP_S)

    def _finished(self, output: str) -> Finished:
        status = _STATUS.findall(output)
        if not status:
            raise self._problem("was lost while a command ran there", output)
        return Finished(int(status[-1]), _STATUS.sub("", output))

    def _adb(self, arguments: Sequence[str], timeout_s: float) -> Finished:
        command = [*self._command, *arguments]
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise DeviceError(
                f"{command[0]} cannot be started ({error.strerror}): install Android's platform tools (Debian: package "
                "adb), or give the path of the binary in adb"
            ) from None
        try:
            output, _ = process.communicate(timeout=max(timeout_s, 0.001))
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            what = f"`adb {arguments[0]}` did not finish on {self.name} within {time.monotonic() - started:.1f} s"
            raise AdbTimeoutError(f"{what}; raise timeout_s if the phone or the model is just slow") from RuntimeError(
                output.decode(errors="replace")
            )
        except BaseException:
            process.kill()
            process.wait()
            raise
        return Finished(process.returncode, output.decode(errors="replace").replace("\r\n", "\n"))

    def _problem(self, what: str, said: str) -> DeviceError:
        lines = [
            line.strip()
            for line in said.splitlines()
            if line.strip() and not line.startswith(("* daemon", "tfx-edge-"))
        ]
        words = "; ".join(lines[-5:])[-500:] or "nothing"
        remedy = next(
            (remedy for pattern, remedy in _REMEDIES if pattern in said),
            "check its cable, and whether `adb devices` lists it",
        )
        return DeviceError(f"{self.name} {what}; adb says: {words}. {remedy[0].upper()}{remedy[1:]}")

    def _listed(self, said: str) -> str:
        if "more than one" not in said:
            return ""
        listed = self._adb(["devices"], CLEAN_UP_S).output
        return "\nthere are: " + ", ".join(re.findall(r"^(\S+)\t", listed, re.MULTILINE))
