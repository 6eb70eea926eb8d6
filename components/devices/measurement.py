"""What measuring a model on a device gives: the timings of each process.

Samples stay apart by process, because a process's memory layout shifts all of its timings together: samples of one
process are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfx_edge.errors import DeviceError


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
                samples_ns=tuple(map(_whole, data["samples_ns"])),
                first_invoke_ns=_whole(data["first_invoke_ns"]),
                load_ns=_whole(data["load_ns"]),
                peak_memory_bytes=_whole(data["peak_memory_bytes"]),
                import_memory_bytes=_whole(data["import_memory_bytes"]),
                cores=tuple(map(_whole, data["cores"])),
            )
        except (KeyError, TypeError) as error:
            raise DeviceError(f"the device answered nonsense: {error!r} in {str(data)[:200]}") from None
        impossible = not 0 <= run.import_memory_bytes <= run.peak_memory_bytes or run.peak_memory_bytes == 0
        if not run.samples_ns or min(run.samples_ns) <= 0 or impossible:
            raise DeviceError(f"the device answered nonsense: figures that are missing or impossible in {run}"[:300])
        return run


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value


@dataclass(frozen=True)
class SummarizedRun(ProcessRun):
    """A process of which statistics are known, but no samples: ``samples_ns`` is empty.

    Attributes:
      statistics_ns: statistics of the time of an invocation by name: ``"min"``, ``"max"``, ``"mean"``, and those
        percentiles that the device tells, such as ``"p50"``.
      count: how many timed invocations they are of.
    """

    statistics_ns: Mapping[str, float]
    count: int
