"""Where the time of a model goes: milliseconds by operator, on this machine.

No figure here decides a verdict: they only say where to look. So nothing raises; what cannot be had is None, and why.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.devices import operator_match
from tfx_edge.errors import ModelError
from tfx_edge.lite import flatbuffer
from tfx_edge.lite.compute import HYBRID, op_kind
from tfx_edge.lite.flatbuffer import CONTROL_FLOW, RawOp, RawTensor

RUNNER = (sys.executable, "-m", "tfx_edge.devices.profile_runner")
BLOCKS = 20
RUNS = 5
SHORTEST_US = 10  # for each XNNPACK node the profiler counts whole microseconds and drops the rest

_NODE = re.compile(
    r"^ *(?P<kind>\S.*?) +(?:[-\d.]+ +){3}(?P<percent>[\d.]+)% +[\d.]+% +[-\d.]+ +\d+ +(?P<place>\[\w+\]:\d+)$", re.M
)
_TOTAL_US = re.compile(r"^Timings \(microseconds\): .*?curr=(\d+)", re.M)
_Node = tuple[str, str, int]  # type, place among the builtin or delegate nodes, number among those of the same two
_Row = tuple[str, str, "float | None"]  # name, dtype, milliseconds


@dataclass(frozen=True)
class OperatorTime:
    """All operators of one name and dtype.

    Attributes:
      name: the builtin name such as "CONV_2D"; "XNNPACK …" for nodes that come from no operator of the file.
      count: how many there are.
      dtype: what they compute in; "float32 x int8" for float activations with int8 weights; empty where unknown.
      time_ms: what they take of one invocation, to 0.1 us; None where unknown: not profiled, or fused into others.
    """

    name: str
    count: int
    dtype: str
    time_ms: float | None


@dataclass(frozen=True)
class Profile:
    """The operators of a model.

    Attributes:
      operators: an entry for each name and dtype, the slowest first, in the order of the file where times are unknown.
      kernel: the kernels that ran, as `tfx_edge.devices.target.RunOptions` names them.
      reason: why there are no times, or None.
    """

    operators: tuple[OperatorTime, ...]
    kernel: str
    reason: str | None = None

    def to_list(self) -> list[dict[str, Any]]:
        """The operators as JSON types."""
        return [asdict(operator) for operator in self.operators]


def profile(
    model_path: str | os.PathLike[str], *, kernel: str = "default", num_threads: int = 1, timeout_s: float = 60
) -> Profile:
    """Profiles a model with zeros as input, in a child process.

    A time is the median over up to 20 blocks of 5 invocations, because one pause of the process would swamp a mean.

    Args:
      model_path: a .tflite file.
      kernel: ``"default"`` or ``"builtin"``.
      num_threads: threads of the interpreter.
      timeout_s: seconds that the child may take.
    """
    try:
        ops = _operators(Path(model_path))
    except (OSError, ModelError) as error:
        return Profile((), kernel, f"the model could not be read: {error}")
    request = {
        "model": str(Path(model_path).resolve()),
        "kernel": kernel,
        "num_threads": num_threads,
        "blocks": BLOCKS,
        "runs": RUNS,
        "max_seconds": timeout_s / 3,
    }
    try:
        nodes = _node_times(_run(request, timeout_s))
    except (OSError, ValueError, RuntimeError) as error:
        return Profile(_group(_untimed(ops)), kernel, f"no time by operator: {error}")
    total = sum(time for (kind, _, _), time in nodes.items() if kind not in CONTROL_FLOW)
    if total < SHORTEST_US:
        reason = f"no time by operator: an invocation takes about {total:.1f} us, and the profiler counts whole ones"
        return Profile(_group(_untimed(ops)), kernel, reason)
    return Profile(_group(_timed(ops, nodes)), kernel)


def _operators(path: Path) -> list[tuple[str, str]]:
    """Name and dtype of every operator, in the order of running, subgraphs one after another."""
    model = flatbuffer.parse(path.read_bytes())
    return [(op.name, _dtype(op, graph.tensors)) for graph in model.subgraphs for op in graph.ops]


def _dtype(op: RawOp, tensors: tuple[RawTensor, ...]) -> str:
    dtypes = [tensors[index].dtype for index in op.outputs]
    if op_kind(op, tensors) == HYBRID:
        dtypes += [t.dtype for t in (tensors[i] for i in op.inputs if i >= 0) if t.constant and t.quantized]
    return " x ".join(dict.fromkeys(dtypes))


def _run(request: Mapping[str, Any], timeout_s: float) -> list[str]:
    """The profiler's cumulative summaries.

    Raises:
      RuntimeError, OSError, ValueError: the child failed, hung or answered nonsense.
    """
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as workdir:
        result = Path(workdir, "result.json")
        question = Path(workdir, "request.json")
        question.write_text(json.dumps({**request, "result": str(result)}))
        try:
            child = subprocess.run(
                [*RUNNER, str(question)], cwd=workdir, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"the profiler did not finish within {timeout_s:g} s") from None
        if child.returncode < 0:
            raise RuntimeError(f"the profiler crashed (signal {-child.returncode})")
        said = child.stderr.decode(errors="replace").splitlines()
        if not result.is_file():
            raise RuntimeError(f"the profiler did not start: {''.join(said[-1:])}")
        answer = json.loads(result.read_text())
    if not isinstance(answer, dict) or not answer:
        raise ValueError("the profiler answered nonsense")
    if "error" in answer:
        causes = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
        raise RuntimeError("; ".join([answer["error"], *causes[:1]]))
    return [str(summary) for summary in answer.get("summaries", [])]


def _node_times(summaries: Sequence[str]) -> dict[_Node, float]:
    """Microseconds of each node in one invocation, in the order of running: the median over the blocks."""
    if not summaries:
        raise ValueError("the profiler answered nothing")
    sums = [_cumulative(summary) for summary in summaries]
    blocks = list(zip([dict[_Node, float](), *sums[:-1]], sums, strict=True))
    return {
        node: float(np.median([after.get(node, 0.0) - before.get(node, 0.0) for before, after in blocks])) / RUNS
        for node in sums[-1]
    }


def _cumulative(summary: str) -> dict[_Node, float]:
    total = _TOTAL_US.search(summary)
    order = summary.partition("Top by Computation Time")[0]
    seen: Counter[tuple[str, str]] = Counter()
    times: dict[_Node, float] = {}
    for line in _NODE.finditer(order):
        key = line["kind"], line["place"]
        node = (line["kind"], line["place"], seen[key])
        times[node] = float(line["percent"]) / 100 * float(total[1] if total else 0)
        seen[key] += 1
    if not total or not times:
        raise ValueError("the profiler's summary has an unknown form; it is known for ai-edge-litert 2.3")
    return times


def _untimed(ops: list[tuple[str, str]]) -> list[_Row]:
    return [(name, dtype, None) for name, dtype in ops]


def _timed(ops: list[tuple[str, str]], nodes: Mapping[_Node, float]) -> list[_Row]:
    kinds = [kind for kind, _, _ in nodes]
    matched = operator_match.match([name for name, _ in ops], kinds)
    times: dict[int, float] = {}
    rest: list[_Row] = []
    for index, microseconds in enumerate(nodes.values()):
        if index in matched:
            times[matched[index]] = microseconds / 1000
        else:
            rest.append((operator_match.plain_name(kinds[index]), "", microseconds / 1000))
    rows = [
        (name, dtype, None if name in CONTROL_FLOW else times.get(index)) for index, (name, dtype) in enumerate(ops)
    ]
    return rows + rest


def _group(rows: list[_Row]) -> tuple[OperatorTime, ...]:
    grouped: dict[tuple[str, str], list[float | None]] = {}
    for name, dtype, time_ms in rows:
        grouped.setdefault((name, dtype), []).append(time_ms)
    operators = []
    for (name, dtype), times in grouped.items():
        known = [time for time in times if time is not None]
        operators.append(OperatorTime(name, len(times), dtype, round(sum(known), 4) if known else None))
    return tuple(sorted(operators, key=lambda operator: -(operator.time_ms or 0.0)))
