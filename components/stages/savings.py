"""What a change of a model really saves, each figure apart: parameters, computing, bytes, compressed bytes, time.

They rarely go together. Zeros shrink the compressed file alone; removed filters shrink all of them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_edge.conversion.convert import convert_source
from tfx_edge.devices.local import Local
from tfx_edge.devices.target import RunOptions
from tfx_edge.errors import DeviceError
from tfx_edge.gate.estimate import Estimate
from tfx_edge.gate.latency import relative
from tfx_edge.lite import flatbuffer
from tfx_edge.lite.inspect import inspect
from tfx_edge.lite.macs import macs

if TYPE_CHECKING:
    import tf_keras

PROCESSES = 8
CONFIDENCE = 0.95
_OPTIONS = RunOptions(runs=400, warmup=20, max_seconds=0.5)
_FIGURES = ("parameters", "macs", "operators", "size_bytes", "gzip_bytes")


@dataclass(frozen=True)
class Cost:
    """What a model costs, as the float ``.tflite`` of batch 1 that it converts to.

    Attributes:
      parameters: numbers that the model holds, trained or not; a weight that layers share counts once.
      macs: multiply-accumulates for one example.
      operators: operators in the file.
      size_bytes: bytes of the file.
      gzip_bytes: its bytes after gzip at level 9.
      path: the file.
    """

    parameters: int
    macs: int
    operators: int
    size_bytes: int
    gzip_bytes: int
    path: Path

    def to_dict(self) -> dict[str, int]:
        """The figures by name."""
        return {name: getattr(self, name) for name in _FIGURES}


def cost(model: tf_keras.Model, folder: str | Path, name: str = "model") -> Cost:
    """Converts a model to a float ``.tflite`` and counts.

    Args:
      model: a tf_keras Functional or Sequential model.
      folder: where the file is kept, as ``<name>.tflite``.
      name: of the file.

    Raises:
      ModelError: the model cannot be converted, or the file computes something else than it.
    """
    from tfx_edge.conversion import source

    path = Path(folder, f"{name}.tflite")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(convert_source(source.of_model(model)).content)
    found = inspect(path)
    return Cost(
        parameters=int(model.count_params()),
        macs=macs(flatbuffer.parse(path.read_bytes())),
        operators=sum(op.count for graph in found.subgraphs for op in graph.ops),
        size_bytes=found.size_bytes,
        gzip_bytes=found.gzip_bytes,
        path=path,
    )


def latency(before: Path, after: Path) -> Estimate:
    """The time of one run of ``after`` divided by that of ``before``, on this machine.

    Both are timed in turns within each of several fresh processes, about 8 s in all, for models that take less than a
    few milliseconds. Each bound holds with a confidence of 95 %.

    Raises:
      ModelError: a file cannot be loaded or run.
      DeviceError: a process crashed, hung or answered nonsense.
    """
    target = Local()
    pairs = [target.compare(after, before, _OPTIONS)[0] for _ in range(PROCESSES)]
    found = relative(pairs, "p50", CONFIDENCE)
    if found is None:
        raise DeviceError(f"{before} and {after} gave no timings to compare")
    return found


@dataclass(frozen=True)
class Savings:
    """The cost of a model before and after a change.

    Attributes:
      before: of the model that was changed.
      after: of what came out.
      latency: time after / time before; None where it was not measured.
    """

    before: Cost
    after: Cost
    latency: Estimate | None = None

    def timed(self) -> Savings:
        """The same with the latency measured."""
        return dataclasses.replace(self, latency=latency(self.before.path, self.after.path))

    def to_dict(self) -> dict[str, Any]:
        """For a step's result."""
        ratio = {"latency_ratio": self.latency.to_dict()} if self.latency else {}
        return {"before": self.before.to_dict(), "after": self.after.to_dict(), **ratio}

    def properties(self) -> dict[str, float]:
        """For an artifact's custom properties: ``parameters``, ``parameters_before`` and so on.

        Bytes are those of the float ``.tflite`` and so are called ``lite_size_bytes`` and ``lite_gzip_bytes``.
        """
        found: dict[str, float] = {}
        for name in _FIGURES:
            key = f"lite_{name}" if name.endswith("bytes") else name
            found[key] = float(getattr(self.after, name))
            found[f"{key}_before"] = float(getattr(self.before, name))
        if self.latency:
            found["latency_ratio"] = self.latency.value
            found["latency_ratio_low"] = self.latency.low
            found["latency_ratio_high"] = self.latency.high
        return found

    def lines(self) -> tuple[str, ...]:
        """For people."""
        named = {"macs": "MACs", "size_bytes": "bytes", "gzip_bytes": "bytes compressed"}
        figures = [
            f"{named.get(name, name)} {_change(getattr(self.before, name), getattr(self.after, name))}"
            for name in _FIGURES
        ]
        known = self.latency
        times = (f"time here {known.value:.3f} ({known.low:.3f} to {known.high:.3f}) of before",) if known else ()
        return (f"float .tflite: {', '.join(figures)}", *times)


def _change(before: int, after: int) -> str:
    if before == after:
        return f"{before:,} as before"
    return f"{before:,} to {after:,}" + (f" ({after / before:.3f})" if before else "")
