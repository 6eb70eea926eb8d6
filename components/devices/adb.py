"""An Android phone as a target: TFLite's ``benchmark_model`` there, through ``adb``.

The tool times one model in a process and tells statistics of it, not single runs, and cannot hold two models; so this
target offers no comparison within one process.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import signal
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from tfx_edge.devices import benchmark_tool
from tfx_edge.devices.adb_client import AdbClient, Finished
from tfx_edge.devices.measurement import SummarizedRun
from tfx_edge.devices.target import RunOptions, Target
from tfx_edge.errors import ConfigError, DeviceError, ModelError

_PROPERTY = re.compile(r"^\[([\w.]+)\]: \[(.*)\]$", re.MULTILINE)
_CORES = re.compile(r"^Cpus_allowed_list:\s*([\d,-]+)$", re.MULTILINE)
_SIGNALLED = 128  # a shell adds this to the number of the signal that ended a process


class Adb(Target):
    """An Android phone, reached with the ``adb`` binary.

    Attributes:
      OFFERS: latency, as statistics of each process, and memory.
    """

    OFFERS: ClassVar[frozenset[str]] = frozenset({"latency", "memory"})

    def __init__(
        self,
        benchmark_model: str,
        *,
        serial: str | None = None,
        adb: str = "adb",
        remote_dir: str = "/data/local/tmp",
        delegate: Literal["cpu", "gpu", "nnapi"] = "cpu",
        cores: Sequence[int] = (),
        flags: Sequence[str] = (),
    ):
        """Does not reach for the phone yet.

        Args:
          benchmark_model: the tool, built for the phone: a file on this host, which is copied there once, or else an
            absolute path on the phone.
          serial: which phone, as ``adb devices`` lists it; by default the only one that is connected.
          adb: the binary, a command or a path.
          remote_dir: a folder on the phone in which files can be run. Models are removed from it; the tool stays.
          delegate: what computes: ``"cpu"``, ``"gpu"`` or ``"nnapi"``. Figures of a run without it are refused.
          cores: the cores to pin the tool to. Phones mix fast and slow ones, so that figures scatter without it.
          flags: further flags of the tool, such as ``"--gpu_precision_loss_allowed=false"``.

        Raises:
          ConfigError: an argument cannot work.
        """
        if delegate not in benchmark_tool.DELEGATES:
            raise ConfigError(f"delegate must be cpu, gpu or nnapi, but it is {delegate!r}")
        if not remote_dir.startswith("/"):
            raise ConfigError(f"remote_dir must be an absolute path on the phone, but it is {remote_dir!r}")
        if any(core < 0 for core in cores):
            raise ConfigError(f"cores must be numbers of cores, 0 and up, but they are {list(cores)}")
        benchmark_tool.check_flags(flags)
        self._tool, self._serial, self._remote_dir = benchmark_model, serial, remote_dir.rstrip("/")
        self._delegate, self._cores, self._flags = delegate, tuple(sorted(cores)), tuple(flags)
        self._phone = AdbClient(adb, serial)

    def fingerprint(self) -> str:
        """One short line on what figures depend on, as far as it is known without reaching the phone."""
        phone = f"Android device {self._serial}" if self._serial else "the connected Android device"
        cores = f"cores {','.join(map(str, self._cores))}" if self._cores else "any core"
        return " ".join([f"{phone}, {self._delegate}, {cores}, benchmark_model {self._tool_identity()}", *self._flags])

    def latency(self, model: Path, options: RunOptions) -> tuple[SummarizedRun, Mapping[str, Any]]:
        """Times a model in one process on the phone; returns its statistics and the environment that they hold for."""
        if not Path(model).is_file():
            raise ModelError(f"there is no model file at {model}")
        deadline = time.monotonic() + options.timeout_s

        def left() -> float:
            return deadline - time.monotonic()

        self._phone.check(left())
        tool = self._tool_there(left)
        folder = f"{self._remote_dir}/tfx-edge-{uuid.uuid4().hex[:12]}"
        try:
            self._do(f"mkdir -p {shlex.quote(folder)}", f"cannot make {folder}", left())
            self._phone.push(Path(model), f"{folder}/model.tflite", left())
            phone, cores = self._describe(left())
            arguments = [
                tool,
                *benchmark_tool.arguments(f"{folder}/model.tflite", options, self._delegate),
                *self._flags,
            ]
            if self._cores:
                arguments = ["taskset", f"{sum(1 << core for core in self._cores):x}", *arguments]
                cores = self._cores
            finished = self._phone.run(arguments, left())
        finally:
            self._phone.try_shell(f"rm -rf {shlex.quote(folder)}")
        self._check_end(finished, model)
        told = benchmark_tool.environment(finished.output, options, self._delegate)
        figures = benchmark_tool.read_run(finished.output, cores)
        return figures, {**phone, **told, "benchmark_model": self._tool_identity(), "flags": list(self._flags)}

    def _tool_there(self, left: Callable[[], float]) -> str:
        """The tool's path on the phone, where it is put if it is a file on this host."""
        tool = Path(self._tool)
        if not tool.is_file():
            if not self._tool.startswith("/"):
                raise DeviceError(
                    f"there is no benchmark_model at {self._tool!r} on this host, and a path on the phone is absolute"
                )
            missing = f"there is no benchmark_model at {self._tool}, neither on this host nor as a program on it"
            self._do(f"test -f {shlex.quote(self._tool)} && test -x {shlex.quote(self._tool)}", missing, left())
            return self._tool
        path = f"{self._remote_dir}/tfx-edge-benchmark_model-{self._tool_identity()}"
        there, part = shlex.quote(path), shlex.quote(f"{path}.part")
        # The size is looked at because an earlier copy may have been cut off after its renaming.
        if (
            self._phone.shell(f"test $(stat -c %s {there}) -eq {tool.stat().st_size} && test -x {there}", left()).status
            != 0
        ):
            self._phone.push(tool, f"{path}.part", left())
            self._do(f"chmod 755 {part} && mv {part} {there}", f"cannot make {path} a program", left())
        return path

    def _tool_identity(self) -> str:
        tool = Path(self._tool)
        return hashlib.sha256(tool.read_bytes()).hexdigest()[:16] if tool.is_file() else self._tool

    def _do(self, command: str, problem: str, timeout_s: float) -> None:
        finished = self._phone.shell(command, timeout_s)
        if finished.status != 0:
            said = finished.output.strip()[-300:] or "nothing"
            raise DeviceError(f"{self._phone.name}: {problem}; it said: {said}")

    def _describe(self, timeout_s: float) -> tuple[dict[str, Any], tuple[int, ...]]:
        """What the phone says of itself, and the cores that its shell may use."""
        said = self._phone.shell("getprop; grep Cpus_allowed_list /proc/$$/status", timeout_s).output
        properties = dict(_PROPERTY.findall(said))
        name = f"{properties.get('ro.product.manufacturer', '')} {properties.get('ro.product.model', '')}".strip()
        if not name:
            raise DeviceError(f"{self._phone.name} answered nonsense: it did not say what it is, but {said[-200:]!r}")
        chip = f"{properties.get('ro.soc.manufacturer', '')} {properties.get('ro.soc.model', '')}".strip()
        allowed = _CORES.findall(said)
        return {
            "device": name,
            "machine": properties.get("ro.product.cpu.abi", "unknown"),
            "processor": chip or properties.get("ro.board.platform", "unknown"),
            "system": f"Android {properties.get('ro.build.version.release', 'unknown')}",
            "build": properties.get("ro.build.fingerprint", "unknown"),
            "serial": self._serial or properties.get("ro.serialno", "unknown"),
        }, _core_list(allowed[-1]) if allowed else ()

    def _check_end(self, finished: Finished, model: Path) -> None:
        if finished.status == 0:
            return
        said = benchmark_tool.complaints(finished.output) or finished.output.strip()[-300:] or "nothing"
        if finished.status > _SIGNALLED:
            how = signal.strsignal(finished.status - _SIGNALLED) or f"signal {finished.status - _SIGNALLED}"
            why = ", as Android does when memory runs out" if finished.status == _SIGNALLED + signal.SIGKILL else ""
            raise DeviceError(
                f"benchmark_model crashed ({how}{why}) on {self._phone.name} with {model}; it said: {said}"
            )
        if benchmark_tool.refuses_model(finished.output):
            raise ModelError(
                f"benchmark_model on {self._phone.name} refuses {model} with delegate {self._delegate!r}; "
                f"it said: {said}"
            )
        hint = "; is it built for the phone's architecture?" if finished.status in (126, 127) else ""
        raise DeviceError(
            f"benchmark_model on {self._phone.name} ended with exit code {finished.status}{hint}; it said: {said}"
        )


def _core_list(text: str) -> tuple[int, ...]:
    """Reads a list of cores as the kernel writes it: ``0-3,6``."""
    cores: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        cores.extend(range(int(first), int(last or first) + 1))
    return tuple(cores)
