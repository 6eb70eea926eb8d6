"""The pipeline of a task's presets, run whole on the smallest task, and the table of what it left."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tfx_edge.lite.inspect import LiteModel, inspect
from tfx_edge.pipelines import table, task
from tfx_edge.report import document

pytestmark = pytest.mark.pipeline

NAME = "basic_motions"
PRESETS = ("int8", "int4_weights", "qat_int8")


@dataclass(frozen=True)
class TaskRun:
    """What a run of a task's pipeline left behind."""

    root: Path
    status: int
    stdout: str
    stderr: str

    def model(self, variant: str) -> LiteModel:
        """The file that the evaluator of a variant judged."""
        report = table.reports(task.load(NAME), self.root)[variant]
        return inspect(document.table(report, "inspection", "candidate")["path"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TaskRun:
    fetch = task.load(NAME).fetch
    assert fetch
    fetch()
    root = tmp_path_factory.mktemp("tasks") / NAME
    command = [sys.executable, "-m", f"tfx_edge.pipelines.{NAME}", "--root", str(root), "--epochs", "8", "--only"]
    done = subprocess.run([*command, *PRESETS], capture_output=True, text=True, timeout=600, check=False)
    return TaskRun(root, done.returncode, done.stdout, done.stderr)


def test_the_run_ends_with_the_table_and_what_was_pushed(run: TaskRun) -> None:
    assert run.status in (0, 1), run.stderr
    assert table.markdown(task.load(NAME), run.root) in run.stdout
    pushed = sorted((run.root / "pushed").glob("*/tflite"))
    assert run.stdout.rstrip().endswith(f"pushed: {pushed[0]}" if pushed else "nothing was pushed")
    assert bool(pushed) == (run.status == 0)


def test_each_variant_is_what_its_preset_says(run: TaskRun) -> None:
    for variant in ("int8", "qat_int8"):
        model = run.model(variant)
        assert model.precision == "int8"
        assert not model.float_ops
        assert {tensor.dtype for tensor in (*model.inputs, *model.outputs)} == {"int8"}
    assert "int4" in run.model("int4_weights").weight_bytes_by_dtype
    assert run.model("float32").precision == "float32"


def test_each_variant_is_as_small_as_its_preset_promises(run: TaskRun) -> None:
    whole = run.model("float32").size_bytes
    sizes = {variant: run.model(variant).size_bytes / whole for variant in PRESETS}
    assert all(size <= task.SIZE_RATIOS[variant] for variant, size in sizes.items()), sizes


def test_the_float_model_has_learnt_the_task(run: TaskRun) -> None:
    report = table.reports(task.load(NAME), run.root)["float32"]
    accuracy = document.figure(report, "candidate", "accuracy", "local")
    assert accuracy
    assert accuracy.value >= 0.6, "one of four classes is guessed right in 0.25"
    assert accuracy.samples == 40
