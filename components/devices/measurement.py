"""What measuring a model on a device gives: raw samples of each process, and the figures made of them.

Samples stay apart by process, because a process's memory layout shifts all of its timings together: samples of one
process are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tfx_edge.errors import DeviceError

NS_PER_MS = 1e6
# A percentile needs about ten samples beyond it, or it is little more than the largest one.
MIN_SAMPLES_P90 = 100
MIN_SAMPLES_P99 = 1000


@dataclass(frozen=True)
class ProcessRun:
    """One fresh process that loaded the model and invoked it again and again.

    Attributes:
      samples_ns: the time of each timed invocation, in the order of running.
      first_invoke_ns: the time of the first invocation, which is not among the samples.
      load_ns: the time to read the model and allocate its tensors.
      peak_memory_bytes: the largest resident size of the whole process (``VmHWM``).
      import_memory_bytes: the resident size after importing the interpreter, before loading the model.
      cores: the processor cores that the process was allowed to run on.
    """

    samples_ns: tuple[int, ...]
    first_invoke_ns: int
    load_ns: int
    peak_memory_bytes: int
    import_memory_bytes: int
    cores: tuple[int, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ProcessRun:
        """Reads what `tfx_edge.devices.runner` wrote.

        Raises:
          DeviceError: a key is missing or holds something that no measurement can be.
        """
        try:
            run = cls(
                samples_ns=tuple(int(sample) for sample in data["samples_ns"]),
                first_invoke_ns=int(data["first_invoke_ns"]),
                load_ns=int(data["load_ns"]),
                peak_memory_bytes=int(data["peak_memory_bytes"]),
                import_memory_bytes=int(data["import_memory_bytes"]),
                cores=tuple(int(core) for core in data["cores"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DeviceError(f"the device answered nonsense: {error!r} in {str(data)[:200]}") from None
        if not run.samples_ns or min(run.samples_ns) <= 0 or run.peak_memory_bytes <= 0:
            raise DeviceError(f"the device answered nonsense: figures that are missing or not positive in {run}"[:300])
        return run


@dataclass(frozen=True)
class Measurement:
    """A model's latency and memory on one device.

    Attributes:
      processes: the raw samples of each process.
      environment: what the figures hold for: processor, kernel, thread count and versions.
    """

    processes: tuple[ProcessRun, ...]
    environment: Mapping[str, Any]

    @classmethod
    def from_results(cls, results: Sequence[Mapping[str, Any]]) -> Measurement:
        """Reads what `tfx_edge.devices.runner` wrote in each process.

        Raises:
          DeviceError: a result lacks a key or holds something that no measurement can be.
        """
        runs = tuple(ProcessRun.from_dict(result) for result in results)
        environment = results[0].get("environment")
        if not isinstance(environment, dict):
            raise DeviceError(f"the device answered nonsense: it did not say what it is, but {environment!r}")
        return cls(runs, environment)

    @property
    def latency_min_ms(self) -> float:
        """The fastest invocation of any process: the figure that repeats best on a shared machine."""
        return float(min(self._samples())) / NS_PER_MS

    @property
    def latency_p50_ms(self) -> float:
        """The median over the samples of all processes."""
        return float(np.percentile(self._samples(), 50)) / NS_PER_MS

    @property
    def latency_p90_ms(self) -> float | None:
        """The 90th percentile over all samples; None below 100 samples."""
        return self._tail(90, MIN_SAMPLES_P90)

    @property
    def latency_p99_ms(self) -> float | None:
        """The 99th percentile over all samples; None below 1000 samples."""
        return self._tail(99, MIN_SAMPLES_P99)

    @property
    def peak_memory_bytes(self) -> int:
        """The largest resident size that any process reached, interpreter and Python included."""
        return max(run.peak_memory_bytes for run in self.processes)

    @property
    def model_memory_bytes(self) -> int:
        """The part of the peak that loading and running the model added, in the process where it added most."""
        return max(run.peak_memory_bytes - run.import_memory_bytes for run in self.processes)

    def figures(self) -> dict[str, float | None]:
        """The figures that a gate can bound, by metric name."""
        return {
            "latency_min_ms": self.latency_min_ms,
            "latency_p50_ms": self.latency_p50_ms,
            "latency_p90_ms": self.latency_p90_ms,
            "peak_memory_bytes": float(self.peak_memory_bytes),
        }

    def to_dict(self) -> dict[str, Any]:
        """Figures, environment and raw samples as JSON types."""
        return {
            **self.figures(),
            "latency_p99_ms": self.latency_p99_ms,
            "model_memory_bytes": self.model_memory_bytes,
            "environment": dict(self.environment),
            "processes": [asdict(run) for run in self.processes],
        }

    def _samples(self) -> np.ndarray:
        return np.concatenate([np.array(run.samples_ns, np.int64) for run in self.processes])

    def _tail(self, percent: float, needed: int) -> float | None:
        samples = self._samples()
        return float(np.percentile(samples, percent)) / NS_PER_MS if len(samples) >= needed else None
