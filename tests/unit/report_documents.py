"""Makes ``report.json`` documents of schema version 2, like those of a digits pipeline; figures are made up."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

BASELINE = {"size_bytes": 343060.0, "gzip_bytes": 315299.0, "ms": 0.0115, "accuracy": 0.9933}


def exact(value: float) -> dict[str, Any]:
    return {"value": value, "low": value, "high": value, "samples": 1, "sample_unit": ""}


def measured(value: float, around: float, samples: int, unit: str) -> dict[str, Any]:
    return {"value": value, "low": value - around, "high": value + around, "samples": samples, "sample_unit": unit}


def check(metric: str, kind: str, figure: dict[str, Any], limit: float, **changes: Any) -> dict[str, Any]:
    """A check with the outcome that the gate's rule gives."""
    low, high = (-figure["high"], -figure["low"]) if kind == "min" else (figure["low"], figure["high"])
    bound = -limit if kind == "min" else limit
    outcome = "pass" if high <= bound else "fail" if low > bound else "inconclusive"
    bounds = {key: figure[key] for key in ("value", "low", "high")}
    reason = f"{metric} is {figure['value']:.4g}, the limit is {kind} {limit:g}: {outcome}"
    return (
        {"metric": metric, "kind": kind, "slice": None, "limit": limit, "outcome": outcome, "reason": reason}
        | bounds
        | changes
    )


def document(
    name: str = "EdgeEvaluator.candidate",
    *,
    size: int = 26744,
    ms: float = 0.0023,
    accuracy: float = 0.9753,
    processes: int = 6,
    slices: int = 10,
    seed: int = 0,
) -> dict[str, Any]:
    """A report with every part filled, on one local target."""
    random = np.random.default_rng(seed)
    examples = 1780
    drop = BASELINE["accuracy"] - accuracy
    figures = {
        "size_bytes": exact(size),
        "gzip_bytes": exact(round(size * 0.6)),
        "latency_min_ms": measured(ms * 0.97, ms * 0.004, processes, "processes"),
        "latency_p50_ms": measured(ms, ms * 0.02, processes, "processes"),
        "latency_p90_ms": measured(ms * 1.05, ms * 0.06, processes, "processes"),
        "peak_memory_bytes": measured(55140352.0, 90000.0, processes, "processes"),
    }
    base = {
        "size_bytes": exact(BASELINE["size_bytes"]),
        "gzip_bytes": exact(BASELINE["gzip_bytes"]),
        "latency_p50_ms": measured(BASELINE["ms"], BASELINE["ms"] * 0.02, processes, "processes"),
    }
    ratio = measured(ms / BASELINE["ms"], ms / BASELINE["ms"] * 0.005, processes, "processes")
    whole = _quality(accuracy, drop, examples)
    judged = [_slice(str(digit), accuracy, drop, examples // max(slices, 1), random) for digit in range(slices)]
    worst = max(
        (row for row in judged if not row["skipped"]),
        key=lambda row: row["metrics"]["accuracy"]["drop"]["value"],
        default=None,
    )
    checks = [
        check("accuracy", "min", whole["accuracy"]["candidate"], 0.95),
        check("accuracy", "max_drop", whole["accuracy"]["drop"], 0.03),
        check("size_bytes", "max", figures["size_bytes"], 50000),
        check("size_bytes", "max_ratio", exact(size / BASELINE["size_bytes"]), 0.35),
        check("latency_p50_ms", "max_ratio", ratio, 0.9),
        check("latency_p90_ms", "max", figures["latency_p90_ms"], 0.005),
        _contract("no Flex ops", None),
        _contract("I/O dtypes", ["int8"]),
    ]
    if worst:
        slice_drop = worst["metrics"]["accuracy"]["drop"]
        checks.insert(2, check("accuracy", "max_drop", slice_drop, 0.06, slice=worst["slice"]))
    outcomes = [each["outcome"] for each in checks]
    outcome = "fail" if "fail" in outcomes else "inconclusive" if "inconclusive" in outcomes else "pass"
    binding = next((each for each in checks if each["outcome"] == outcome), checks[0])
    verdict = {
        "blessed": outcome == "pass",
        "outcome": outcome,
        "reason": binding["reason"] if outcome != "pass" else f"all {len(checks)} checks passed",
    }
    return {
        "schema_version": 2,
        "name": name,
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "created": "2026-03-02T10:41:07+00:00",
        "verdict": {
            **verdict,
            "remedy": None if outcome == "pass" else "keep the CONV_2D layers in int16x8, or train again with mode qat",
            "policy": "all",
            "binding": {"target": "local", "check": binding},
        },
        "targets": {
            "local": {
                "kind": "local",
                "environment": {"machine": "x86_64", "kernel": "xnnpack", "num_threads": 1, "ai_edge_litert": "2.3.0"},
                "verdict": {**verdict, "checks": checks},
                "candidate": figures,
                "baseline": base,
                "relative": {"latency_p50_ms": ratio, "size_bytes": exact(size / BASELINE["size_bytes"])},
                "latency": {
                    "candidate": [_process(ms, random) for _ in range(processes)],
                    "baseline": [_process(BASELINE["ms"], random) for _ in range(processes)],
                    "paired": [
                        {"candidate": _process(ms, random), "baseline": _process(BASELINE["ms"], random)}
                        for _ in range(processes)
                    ],
                },
            }
        },
        "quality": {"examples": examples, "metrics": whole, "slices": judged},
        "inspection": {
            "candidate": _inspection(name, size, "int8"),
            "baseline": _inspection("float", 343060, "float32"),
        },
        "operators": {
            "candidate": _operators(ms, "int8"),
            "baseline": _operators(BASELINE["ms"], "float32"),
        },
        "steps": [
            {
                "component": "Pruner",
                "recipe": {"method": {"kind": "magnitude", "final_sparsity": 0.5}, "epochs": 8},
                "result": {"sparsity": {"conv2d": 0.5}, "pruned": ["conv2d"]},
            },
            {
                "component": "Quantizer",
                "recipe": {"recipe": {"preset": "qat_int8"}, "preserve": ["sparsity", "clusters"]},
                "result": {"float_layers": []},
            },
            {"component": "LiteConverter", "recipe": {"recipe": {"preset": "int8"}}, "result": {}},
        ],
        "config": {"confidence": 0.95, "thresholds": {"accuracy": {"min": 0.95, "max_drop": 0.03}}, "runs": 200},
    }


def _quality(accuracy: float, drop: float, examples: int) -> dict[str, Any]:
    around = 1.65 * (accuracy * (1 - accuracy) / examples) ** 0.5
    return {
        "accuracy": {
            "candidate": measured(accuracy, around, examples, "examples"),
            "baseline": measured(accuracy + drop, around * 0.7, examples, "examples"),
            "drop": measured(drop, around * 0.8, examples, "examples"),
        }
    }


def _slice(digit: str, accuracy: float, drop: float, examples: int, random: np.random.Generator) -> dict[str, Any]:
    if digit == "9":
        return {"slice": {"digit": digit}, "examples": 21, "metrics": {}, "skipped": "21 examples, fewer than 50"}
    worse = float(np.round(drop * random.uniform(-0.6, 2.4), 4))
    metrics = _quality(min(accuracy + drop - worse, 0.999), worse, examples)
    return {"slice": {"digit": digit}, "examples": examples, "metrics": metrics, "skipped": None}


def _contract(name: str, limit: Any) -> dict[str, Any]:
    numbers = {"value": None, "low": None, "high": None}
    reason = f"{name}: as wanted"
    return {
        "metric": name,
        "kind": "contract",
        "slice": None,
        "limit": limit,
        "outcome": "pass",
        "reason": reason,
        **numbers,
    }


def _process(ms: float, random: np.random.Generator) -> dict[str, Any]:
    shift = random.uniform(0.98, 1.03)
    samples = ms * 1e6 * shift * (0.97 + random.lognormal(-3.4, 0.7, 200))
    return {
        "samples_ns": [int(each) for each in samples],
        "first_invoke_ns": int(samples[0] * 8),
        "load_ns": 1198917,
        "peak_memory_bytes": 55111680,
        "import_memory_bytes": 51445760,
        "cores": [0],
    }


def _inspection(name: str, size: int, dtype: str) -> dict[str, Any]:
    tensor = {"dtype": dtype, "shape": [1, 8, 8, 1], "scale": None, "zero_point": None}
    return {
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "size_bytes": size,
        "gzip_bytes": round(size * 0.6),
        "precision": dtype,
        "description": "MLIR Converted.",
        "sparsity": 0.5,
        "inputs": [{"name": "image", **tensor}],
        "outputs": [{"name": "scores", **tensor, "shape": [1, 10]}],
        "subgraphs": [
            {"name": "main", "ops": [{"name": "CONV_2D", "count": 2, "inputs": [dtype], "outputs": [dtype]}]}
        ],
        "float_islands": [{"subgraph": 0, "ops": ["SIN", "COS"], "positions": [3, 4]}],
        "flex_ops": [],
        "custom_ops": [],
        "weight_bytes_by_dtype": {dtype: size - 5000, "int32": 368},
    }


def _operators(ms: float, dtype: str) -> list[dict[str, Any]]:
    shares = {"CONV_2D": (2, 0.61), "FULLY_CONNECTED": (2, 0.27), "MAX_POOL_2D": (1, 0.1), "RESHAPE": (1, None)}
    return [
        {"name": name, "count": count, "dtype": dtype, "time_ms": None if share is None else ms * share}
        for name, (count, share) in shares.items()
    ]
