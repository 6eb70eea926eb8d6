"""The gate from files and examples to a report: whatever goes wrong withholds the blessing, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lite_models
import numpy as np
import pytest

from tfx_edge.gate.evaluation import evaluate

SETTINGS: dict[str, Any] = {
    "thresholds": {"accuracy": {"min": 0.0}, "size_bytes": {"max": 10_000_000}},
    "processes": 1,
    "runs": 20,
    "warmup": 2,
    "num_threads": 1,
    "timeout_s": 60,
}
Batch = tuple[dict[str, np.ndarray], np.ndarray]


def examples() -> Iterator[Batch]:
    for features in lite_models.images():
        yield features, np.zeros(1, np.int64)


def no_examples() -> Iterator[Batch]:
    return iter(())


def artifact(folder: Path, content: bytes) -> Path:
    path = folder / "Format-Serving" / "tflite"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return folder


def test_a_good_model_is_blessed(tmp_path: Path) -> None:
    report = evaluate(artifact(tmp_path, lite_models.int8()), None, examples, SETTINGS, print)
    assert report["verdict"]["blessed"], report["verdict"]["reason"]
    assert report["candidate"]["size_bytes"] == len(lite_models.int8())
    assert report["latency"]["latency_p50_ms"] > 0


@pytest.mark.parametrize(
    ("content", "batches", "told"),
    [
        (lambda: lite_models.float32()[:-2000], examples, "could not be evaluated"),
        (lambda: b"", examples, "could not be evaluated"),
        (lite_models.float32, no_examples, "could not be evaluated"),
    ],
    ids=["truncated", "empty file", "empty eval split"],
)
def test_what_cannot_be_evaluated_is_not_blessed(tmp_path: Path, content: Any, batches: Any, told: str) -> None:
    report = evaluate(artifact(tmp_path, content()), None, batches, SETTINGS, print)
    assert not report["verdict"]["blessed"]
    assert told in report["verdict"]["reason"]


def test_outputs_that_are_not_numbers_are_not_blessed(tmp_path: Path) -> None:
    def broken() -> Iterator[Batch]:
        for features, labels in examples():
            yield {name: np.full_like(values, np.nan) for name, values in features.items()}, labels

    report = evaluate(artifact(tmp_path, lite_models.float32()), None, broken, SETTINGS, print)
    assert not report["verdict"]["blessed"]
    assert "could not be evaluated" in report["verdict"]["reason"]


def test_a_trainable_stage_is_not_blessed(tmp_path: Path) -> None:
    report = evaluate(tmp_path, None, examples, SETTINGS, print)
    assert "Put a LiteConverter before this component" in report["verdict"]["reason"]
