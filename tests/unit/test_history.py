"""The history of evaluations, read from real SQLite stores as TFX's drivers write them."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from test_lineage import Writer

from tfx_edge.cli import main
from tfx_edge.errors import ConfigError
from tfx_edge.lineage.history import Entry, read
from tfx_edge.report.history import choose_metrics, to_json, to_svg, to_text

FIGURES = {
    "size_bytes": 26744.0,
    "gzip_bytes": 16045.0,
    "latency_p50_ms": 0.00228,
    "latency_p50_ms_low": 0.00221,
    "latency_p50_ms_high": 0.00235,
    "accuracy": 0.9753,
    "accuracy_low": 0.9692,
    "accuracy_high": 0.9814,
}


class History:
    """A store with evaluations."""

    def __init__(self, root: Path) -> None:
        self.writer = Writer(root / "metadata" / "metadata.db")
        self.database = self.writer.path

    def judge(
        self,
        node: str = "EdgeEvaluator.candidate",
        *,
        run: str = "run-1",
        blessed: int = 1,
        reason: str = "all checks passed",
        state: pb.Execution.State.ValueType = pb.Execution.COMPLETE,
        **changes: float,
    ) -> tuple[int, int]:
        report = self.writer.artifact(
            "tfx_edge.EdgeReport", "/root/report", blessed=blessed, reason=reason, sha256="ab" * 32, **FIGURES | changes
        )
        return self.writer_run(node, report, run, state), report

    def writer_run(self, node: str, report: int, run: str, state: pb.Execution.State.ValueType) -> int:
        execution = self.writer.execution(node, {}, {"report": report}, state)
        context = self.writer._context("pipeline_run", run)
        self.writer.store.put_attributions_and_associations(
            [], [pb.Association(execution_id=execution, context_id=context)]
        )
        return execution


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def test_each_evaluation_is_one_entry_in_the_order_of_time(history: History) -> None:
    first, _ = history.judge(accuracy=0.97)
    second, _ = history.judge(run="run-2", blessed=0, reason="accuracy is too low", accuracy=0.91)
    entries = read(history.database)
    assert [entry.execution_id for entry in entries] == [first, second]
    assert [entry.figures["accuracy"] for entry in entries] == [0.97, 0.91]
    assert [(entry.blessed, entry.reason) for entry in entries] == [
        (True, "all checks passed"),
        (False, "accuracy is too low"),
    ]
    entry = entries[1]
    assert (entry.pipeline, entry.node, entry.run) == ("digits", "EdgeEvaluator.candidate", "run-2")
    assert (entry.sha256, entry.uri) == ("ab" * 32, "/root/report")
    assert entry.time.endswith("+00:00")
    assert set(entry.figures) == set(FIGURES)


def test_a_report_from_the_cache_counts_once_and_a_failed_evaluation_not_at_all(history: History) -> None:
    made, report = history.judge()
    history.writer_run("EdgeEvaluator.candidate", report, "run-2", pb.Execution.CACHED)
    history.judge(state=pb.Execution.FAILED)
    assert [(entry.execution_id, entry.run) for entry in read(history.database)] == [(made, "run-1")]


def test_nodes_are_chosen_by_id_or_its_last_part_and_the_newest_are_kept(history: History) -> None:
    ids = [history.judge(f"EdgeEvaluator.{node}")[0] for node in ("a", "b", "a", "b", "a")]
    of_a = [ids[0], ids[2], ids[4]]
    assert [entry.execution_id for entry in read(history.database, ["EdgeEvaluator.a"])] == of_a
    assert [entry.execution_id for entry in read(history.database, ["a"], last=2)] == of_a[1:]
    assert [entry.execution_id for entry in read(history.database, last=2)] == ids[3:]
    with pytest.raises(ConfigError, match=r"called c; .*EdgeEvaluator\.a, EdgeEvaluator\.b"):
        read(history.database, ["a", "c"])


def test_a_store_without_evaluations_and_no_store_are_refused(history: History, tmp_path: Path) -> None:
    history.writer.artifact("Model")
    with pytest.raises(ConfigError, match=r"metadata\.db.*no report.*--metadata"):
        read(history.database)
    other = tmp_path / "other.db"
    other.write_bytes(b"no database" * 100)
    with pytest.raises(ConfigError, match=r"other\.db.*--metadata"):
        read(other)


def test_the_store_is_only_read(history: History) -> None:
    history.judge()
    before = history.database.read_bytes()
    read(history.database)
    assert history.database.read_bytes() == before


def test_usual_metrics_are_size_time_and_quality_without_their_bounds(history: History) -> None:
    history.judge()
    entries = read(history.database)
    assert choose_metrics(entries) == ["size_bytes", "gzip_bytes", "latency_p50_ms", "accuracy"]
    assert choose_metrics(entries, ["accuracy", "size_bytes", "accuracy"]) == ["accuracy", "size_bytes"]
    with pytest.raises(ConfigError, match="auc; the metrics there are: accuracy, gzip_bytes, latency_p50_ms"):
        choose_metrics(entries, ["auc"])
    with pytest.raises(ConfigError, match="accuracy_low"):
        choose_metrics(entries, ["accuracy_low"])


def test_without_accuracy_another_quality_metric_is_shown() -> None:
    entry = Entry(1, "", "", "E", "2026-03-02T10:41:07.000+00:00", None, True, "", {"auc": 0.9, "size_bytes": 4.0}, "")
    assert choose_metrics([entry]) == ["size_bytes", "auc"]


def test_the_table_fits_100_columns_and_tells_why_models_were_refused(history: History) -> None:
    history.judge("EdgeEvaluator.a_rather_long_name_of_an_evaluator")
    second, _ = history.judge(blessed=0, reason="size_bytes 92,800 bytes is above the maximum 30,000 bytes. " * 4)
    entries = read(history.database)
    text = to_text(entries, choose_metrics(entries))
    assert max(map(len, text.splitlines())) <= 100
    assert "26.7 kB" in text
    assert "2.280 µs" in text
    assert "0.9753" in text
    assert f"{second} not blessed: size_bytes 92,800 bytes" in text
    assert text.count("not blessed") == 1


def test_names_in_the_store_cannot_steer_the_terminal_or_become_markup(history: History) -> None:
    history.judge("EdgeEvaluator.<b>\x1b[31m", blessed=0, reason="\x1b[31m\nx<script>")
    entries = read(history.database)
    assert "\x1b" not in to_text(entries, ["accuracy"])
    texts = [
        text.text for text in ET.fromstring(to_svg(entries, ["accuracy"])).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert "<b>\ufffd[31m" in texts


def test_the_picture_has_every_evaluation_with_its_verdict_and_interval(history: History) -> None:
    for run in range(9):
        history.judge(run=f"run-{run}", accuracy=0.95 + run / 500, blessed=int(run != 4))
        history.judge("EdgeEvaluator.int8", run=f"run-{run}")
    entries = read(history.database)
    root = ET.fromstring(to_svg(entries, ["accuracy", "size_bytes"]))
    name = "{http://www.w3.org/2000/svg}"
    groups = [group for group in root.iter(f"{name}g") if group.find(f"{name}title") is not None]
    assert len(groups) == 2 * len(entries)
    refused = [group for group in groups if group.find(f"{name}circle") is None]
    assert len(refused) == 2
    assert all("not blessed" in (group.find(f"{name}title").text or "") for group in refused)  # type: ignore[union-attr]
    assert len([line for line in root.iter(f"{name}line") if line.get("class") == "bar"]) == len(entries)
    heights = [
        float(circle.get("cy", "nan"))
        for group in groups
        for circle in group.findall(f"{name}circle")
        if (group.find(f"{name}title").text or "").startswith("candidate")  # type: ignore[union-attr]
    ][:8]
    assert heights == sorted(heights, reverse=True)
    texts = [text.text for text in root.iter(f"{name}text")]
    assert {"candidate", "int8", "accuracy", "size", "not blessed"} <= set(texts)


def test_one_evaluation_alone_can_be_drawn(history: History) -> None:
    history.judge()
    ET.fromstring(to_svg(read(history.database), ["accuracy"]))


def test_json_has_every_figure(history: History) -> None:
    history.judge()
    (entry,) = json.loads(to_json(read(history.database)))
    assert entry["figures"] == FIGURES
    assert entry["blessed"] is True


def test_the_command_finds_the_store_as_lineage_does(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    history.judge()
    monkeypatch.delenv("TFX_EDGE_METADATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["history"]) == 0
    told = capsys.readouterr().out
    assert "candidate" in told
    assert main(["history", "--metadata", str(history.database)]) == 0
    assert capsys.readouterr().out == told
    monkeypatch.setenv("TFX_EDGE_METADATA", str(tmp_path / "absent.db"))
    assert main(["history"]) == 1
    assert "TFX_EDGE_METADATA" in capsys.readouterr().err


def test_the_command_draws_and_prints(history: History, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history.judge()
    command = [
        "history",
        "--metadata",
        str(history.database),
        "--metric",
        "accuracy",
        "size_bytes",
        "--node",
        "candidate",
    ]
    picture = tmp_path / "history.svg"
    assert main([*command, "--last", "1", "--plot", str(picture)]) == 0
    assert f"wrote {picture}" in capsys.readouterr().out
    assert ET.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert main([*command, "--json", "--plot", str(picture)]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1
    assert main([*command, "--plot", str(tmp_path / "history.gif")]) == 1
    assert "ends in .svg" in capsys.readouterr().err
    assert main([*command, "--metric", "auc"]) == 1
    assert "auc" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_last_is_a_whole_number_from_1_on(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["history", f"--last={count}"])
    assert ended.value.code == 2
    assert "no whole number from 1 on" in capsys.readouterr().err


def test_neither_history_nor_reports_import_tfx_or_tensorflow() -> None:
    code = """
import sys, tfx_edge.cli, tfx_edge.lineage.history, tfx_edge.report.history, tfx_edge.report.html
print(sorted({"tfx", "tensorflow", "keras", "tf_keras", "sklearn", "apache_beam", "matplotlib"} & set(sys.modules)))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
