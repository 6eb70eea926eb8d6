"""What a device offers to the gate, whatever it is and however it is reached."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from tfx_edge.devices.measurement import ProcessRun
from tfx_edge.errors import ConfigError, DeviceError

Batch = Mapping[str, np.ndarray]
Self = TypeVar("Self", bound="Target")
KERNELS = ("default", "builtin")


@dataclass(frozen=True)
class RunOptions:
    """How one process on a device times a model.

    Attributes:
      runs: timed invocations; a slow model gets as many as ``max_seconds`` allows.
      warmup: untimed invocations before them.
      num_threads: threads of the interpreter; with one, the process is pinned to a core where the device can.
      kernel: ``"default"``, which delegates to XNNPACK what it takes, or ``"builtin"`` without it.
      timeout_s: seconds that the process may take, start and transfer included.
      max_seconds: seconds that warm-up and timed invocations may take; by default, and at most, half of
        ``timeout_s``.
      integers: the least and the greatest value that is fed to inputs of plain integers, by their names; 0 and 1 for
        others. What is looked up in tables decides how much of them comes into memory.
    """

    runs: int = 200
    warmup: int = 20
    num_threads: int = 1
    kernel: str = "default"
    timeout_s: float = 120
    max_seconds: float | None = None
    integers: Mapping[str, tuple[int, int]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Raises ConfigError, naming the first option that is out of range."""
        for name, least in (("runs", 1), ("warmup", 0), ("num_threads", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, but it is {getattr(self, name)}")
        if self.kernel not in KERNELS:
            raise ConfigError(f"kernel must be one of {', '.join(KERNELS)}, but it is {self.kernel!r}")
        for name in ("timeout_s", "max_seconds"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                raise ConfigError(f"{name} must be above 0, but it is {seconds:g}")

    def to_request(self) -> dict[str, Any]:
        """These options as `tfx_edge.devices.runner` takes them."""
        return {
            "num_threads": self.num_threads,
            "kernel": self.kernel,
            "runs": self.runs,
            "warmup": self.warmup,
            "max_seconds": self.seconds_of_running,
            "integers": dict(self.integers),
        }

    @property
    def seconds_of_running(self) -> float:
        """Seconds that warm-up and timed invocations may take: ``max_seconds``, but at most half of ``timeout_s``."""
        most = self.timeout_s / 2
        return most if self.max_seconds is None else min(self.max_seconds, most)


@dataclass(frozen=True)
class PairedRun:
    """One fresh process that held two models and timed them in turns, in short blocks.

    Attributes:
      candidate: timed invocations of the candidate.
      baseline: those of the baseline, under the same conditions.
    """

    candidate: ProcessRun
    baseline: ProcessRun


class Target(abc.ABC):
    """A place where a ``.tflite`` file runs. Each call of a method uses a fresh process there.

    Every method raises `DeviceError` when the target is absent, dies, hangs or answers nonsense, `ModelError` when it
    answers that the model cannot be loaded or run, and `DataError` when examples do not fit the model.

    Attributes:
      OFFERS: what the target can do: some of ``"latency"``, ``"memory"``, ``"compare"``, ``"infer"``, ``"arena"``.
    """

    OFFERS: ClassVar[frozenset[str]]

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """One short line on what figures depend on there, as far as it is known without reaching the device."""

    def latency(self, model: Path, options: RunOptions) -> tuple[ProcessRun, Mapping[str, Any]]:
        """Times a model in one process; returns the samples and the environment that they hold for."""
        raise self._cannot("measure latency")

    def compare(self, candidate: Path, baseline: Path, options: RunOptions) -> tuple[PairedRun, Mapping[str, Any]]:
        """Times two models in one process, in turns; returns the samples and the environment that they hold for."""
        raise self._cannot("compare two models in one process")

    def infer(self, model: Path, batches: Iterable[Batch], timeout_s: float) -> Iterator[dict[str, np.ndarray]]:
        """The outputs for batches of features, as `tfx_edge.devices.local.infer` gives them."""
        raise self._cannot("return outputs")

    def arena_bytes(self, model: Path, timeout_s: float) -> tuple[int, Mapping[str, Any]]:
        """Bytes of the tensor arena that the model needs on a microcontroller, and what they hold for."""
        raise self._cannot("tell the size of a tensor arena")

    def close(self) -> None:  # noqa: B027  (most targets hold nothing open)
        """Lets go of a connection, where there is one."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cannot(self, what: str) -> DeviceError:
        return DeviceError(f"a target of kind {type(self).__name__} cannot {what}")
