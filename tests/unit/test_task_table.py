"""The table of presets, read from a real store of ML Metadata and made-up reports."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from report_documents import document
from test_lineage import Writer

from tfx_edge.errors import ConfigError
from tfx_edge.pipelines import table, task
from tfx_edge.pipelines.task import Task
from tfx_edge.quantization.recipe import PRESETS

BASELINE = "float"  # the name that report_documents gives its baseline


def nothing(_: Path) -> None:
    """A task whose data is not needed here."""


TASK = Task("made", "A made-up task", nothing, "made.module", epochs=1, inapplicable={"int16x8": "it has no kernel"})


class Reports:
    """The reports that a pipeline left."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.writer = Writer(root / "metadata" / "metadata.db")

    def add(self, variant: str, report: dict[str, Any]) -> None:
        folder = self.root / "artifacts" / variant
        folder.mkdir(parents=True)
        (folder / "report.json").write_text(json.dumps(report))
        artifact = self.writer.artifact("tfx_edge.EdgeReport", str(folder))
        self.writer.execution(f"EdgeEvaluator.{variant}", {}, {"report": artifact})


@pytest.fixture
def reports(tmp_path: Path) -> Reports:
    made = Reports(tmp_path)
    made.add("float32", document(BASELINE, size=343060, accuracy=0.9933))
    made.add("int8", document("int8", size=92800, accuracy=0.98, ms=0.0045))
    return made


def rows(text: str) -> dict[str, dict[str, str]]:
    """The table's cells by preset and column."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    header, _, *body = lines
    return {cells[0]: dict(zip(header, map(str.strip, cells), strict=True)) for cells in body}


def test_the_figures_are_those_of_the_reports(reports: Reports) -> None:
    shown = rows(table.markdown(TASK, reports.root))["int8"]
    assert shown["bytes"] == "92,800"
    assert shown["gzip"] == "55,680"
    assert shown["of float"] == "0.271"
    assert shown["p50 ms"] == "0.0045 (0.00441 to 0.00459)"
    assert shown["accuracy"].startswith("0.9800 (0.97")
    assert shown["drop"].startswith("0.0133 (")
    assert (shown["float islands"], shown["float operators"]) == ("1", "0")
    assert shown["verdict"].startswith("not blessed: ")


def test_every_preset_has_a_row_and_what_was_not_made_has_its_reason_instead_of_figures(reports: Reports) -> None:
    shown = rows(table.markdown(TASK, reports.root))
    assert list(shown) == [name.replace("_", " ") for name in PRESETS]
    assert shown["int16x8"]["verdict"] == "not made: it has no kernel"
    assert shown["float16"]["verdict"] == "not run"
    assert not shown["int16x8"]["bytes"]
    assert not shown["float16"]["accuracy"]


def test_the_recovered_variant_has_a_row_where_the_task_asks_for_it(reports: Reports) -> None:
    recovering = dataclasses.replace(TASK, recovery={"max_drop": 0.01})
    assert list(rows(table.markdown(recovering, reports.root)))[-1] == "int8 recovered"


def test_figures_against_an_earlier_float_model_are_not_shown(reports: Reports) -> None:
    other = document("dynamic")
    other["inspection"]["baseline"]["sha256"] = "0" * 64
    reports.add("dynamic_int8", other)
    shown = rows(table.markdown(TASK, reports.root))["dynamic int8"]
    assert shown["verdict"] == "not run on the present float model"
    assert not shown["accuracy"]


def test_a_task_that_never_ran_says_how_to_run_it(tmp_path: Path) -> None:
    assert "Not run: `python -m tfx_edge.pipelines.run made`" in table.markdown(TASK, tmp_path)


def test_the_command_fails_when_a_task_has_no_figures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tfx_edge.pipelines.table", "digits", "--root", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "### Digits" in done.stdout
    assert "Not run" in done.stdout


def test_every_task_names_a_module_and_presets_that_there_are() -> None:
    names = task.names()
    assert {"basic_motions", "digits", "fashion_mnist"} <= set(names)
    for each in map(task.load, names):
        assert each.module.startswith(f"tfx_edge.pipelines.{each.name}.")
        known = set(each.variants)
        assert {each.pushed, *each.inapplicable, *each.recipes} <= known
        assert each.pushed not in each.inapplicable


def test_an_unknown_task_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no task 'digit'; there are .*digits"):
        task.load("digit")
