"""The page of reports, as a browser and a reader would take it."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_documents
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfx_edge.cli import main
from tfx_edge.errors import ConfigError
from tfx_edge.gate.estimate import Estimate
from tfx_edge.report import labels, numbers, plots
from tfx_edge.report.axis import Axis
from tfx_edge.report.document import load
from tfx_edge.report.html import render

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Every tag, attribute and text of a page; raises where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def handle_decl(self, decl: str) -> None:
        assert decl == "DOCTYPE html"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return report_documents.document()


def small() -> dict[str, Any]:
    return report_documents.document(processes=2, slices=3)


def several() -> list[dict[str, Any]]:
    make = report_documents.document
    return [
        make(),
        make("EdgeEvaluator.int8", size=92800, ms=0.0046, accuracy=0.992),
        make("EdgeEvaluator.tiny", size=9000, ms=0.0019, accuracy=0.91),
    ]


def test_the_page_needs_nothing_from_elsewhere(document: dict[str, Any]) -> None:
    html = render([document])
    page = Page(html)
    assert [value for _, name, value in page.attributes if name in ("href", "src", "data", "xlink:href")] == [
        "report.json"
    ]
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?:|//[a-z]", html)


def test_many_models_processes_and_slices_stay_below_500_kb() -> None:
    reports = [
        report_documents.document(f"EdgeEvaluator.variant-{index}", size=20000 * (index + 1), processes=20, slices=300)
        for index in range(10)
    ]
    html = render(reports)
    assert len(html.encode()) < 500_000
    text = Page(html).text
    assert "260 more slices are in the JSON" in text
    assert "4 more processes are in the JSON" in text


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({}, "✓ Blessed"),
        ({"accuracy": 0.93}, "✕ Not blessed"),
        ({"accuracy": 0.9653, "slices": 0}, "? Not blessed: inconclusive"),
    ],
)
def test_the_verdict_and_what_binds_it_come_first(changes: dict[str, Any], title: str) -> None:
    report = report_documents.document(**changes)
    text = Page(render([report])).text
    binding = report["verdict"]["binding"]["check"]
    told = [
        title,
        binding["reason"],
        "Models compared",
        "Target local",
        "Quality",
        "Inside the file",
        "How it was made",
    ]
    places = [text.find(part) for part in told]
    assert -1 not in places
    assert places == sorted(places)
    assert (report["verdict"]["remedy"] or "") in text


def test_what_is_neither_blessed_nor_explained_is_shown_as_not_blessed() -> None:
    text = Page(render([{"verdict": {"blessed": "yes", "outcome": "pass"}}])).text
    assert "✕ Not blessed" in text
    assert "✓" not in text


def test_every_check_is_shown_with_its_outcome_interval_and_limit(document: dict[str, Any]) -> None:
    html = render([document])
    checks = document["targets"]["local"]["verdict"]["checks"]
    table = html[html.index("Checks</caption>") :]
    rows = re.findall(r"<tr>(.*?)</tr>", table[: table.index("</table>")], re.DOTALL)[1:]
    assert len(rows) == len(checks)
    shown = [Page(row).text for row in rows]
    for check, text in zip(checks, shown, strict=True):
        assert check["outcome"] in text
    assert re.search(r"accuracy 0\.9753 0\.9692 to 0\.9814 ≥ 0\.95 ", shown[0])
    assert re.search(r"accuracy drop 0\.0180 0\.\d+ to 0\.\d+ ≤ 0\.03 ", shown[1])
    assert re.search(r"size 26,744 B ≤ 50,000 B ", shown[3])
    assert re.search(r"size ratio 0\.0780× ≤ 0\.35× ", shown[4])
    assert re.search(r"I/O dtypes int8", shown[8])


def test_of_too_many_checks_those_that_did_not_pass_stay() -> None:
    report = small()
    checks = report["targets"]["local"]["verdict"]["checks"]
    passed = next(check for check in checks if check["outcome"] == "pass")
    failed = {**passed, "outcome": "fail", "reason": "digit 7 fell"}
    report["targets"]["local"]["verdict"]["checks"] = [passed] * 300 + [failed] * 5 + [passed] * 300
    html = render([report])
    assert len(html.encode()) < 250_000
    text = Page(html).text
    assert text.count("digit 7 fell") == 5
    assert "485 more checks are in the JSON" in text


def test_every_target_has_its_own_verdict(document: dict[str, Any]) -> None:
    report = copy.deepcopy(document)
    reason = "raspberrypi.local is absent"
    report["targets"]["pi"] = {
        "kind": "ssh", "environment": {}, "candidate": {}, "baseline": None, "relative": {}, "latency": None,
        "verdict": {"blessed": False, "outcome": "fail", "reason": reason, "checks": []},
    }  # fmt: skip
    text = Page(render([report])).text
    assert "Target pi (ssh) ✕ Not blessed : raspberrypi.local is absent" in text
    assert "local: blessed" in text
    assert "pi: not blessed" in text


def test_variants_are_compared_with_the_judged_model_and_one_baseline() -> None:
    page = Page(render(several()))
    assert page.text.count("EdgeEvaluator. int8") == 1
    table = page.text[page.text.index("Models compared") :]
    assert table.count("? inconclusive") + table.count("✕ not blessed") + table.count("✓ blessed") >= 3
    assert len(re.findall(r"baseline – 343 kB 315 kB 11.50 µs 0.9933", table)) == 1


def test_without_a_baseline_slices_show_the_metric_itself(document: dict[str, Any]) -> None:
    report = copy.deepcopy(document)
    for place in [report["quality"], *report["quality"]["slices"]]:
        for metric in place["metrics"].values():
            metric["baseline"] = metric["drop"] = None
    report["targets"]["local"].update(baseline=None, relative={})
    report["inspection"]["baseline"] = None
    report["targets"]["local"]["latency"].update(baseline=None, paired=None)
    report["operators"]["baseline"] = None
    text = Page(render([report])).text
    assert "accuracy by slice" in text
    assert "Drop of" not in text
    assert "baseline" not in text


def test_slices_are_the_worst_first_and_tell_why_some_were_not_judged(document: dict[str, Any]) -> None:
    text = Page(render([document])).text
    order = re.findall(r"digit=(\d)", text[text.index("by slice") :])
    drops = {
        row["slice"]["digit"]: row["metrics"]["accuracy"]["drop"]["value"]
        for row in document["quality"]["slices"]
        if row["metrics"]
    }
    assert list(dict.fromkeys(order)) == [*sorted(drops, key=lambda digit: -drops[digit]), "9"]
    assert "not judged: 21 examples, fewer than 50" in text


def test_operators_are_timed_or_else_listed_from_the_inspection(document: dict[str, Any]) -> None:
    text = Page(render([document])).text
    assert re.search(r"CONV_2D 2 int8 1\.403 µs .*FULLY_CONNECTED 2 int8 0\.6210 µs .*RESHAPE 1 int8 –", text)
    assert "SIN, COS" in text
    untimed = Page(render([{**document, "operators": None}])).text
    assert "CONV_2D 2 int8" in untimed
    assert "share" not in untimed


def test_latencies_are_those_of_the_samples(document: dict[str, Any]) -> None:
    text = Page(render([document])).text
    run = document["targets"]["local"]["latency"]["candidate"][0]["samples_ns"]
    figures = [f"{figure / 1000:.4g}" for figure in (min(run), np.median(run), np.quantile(run, 0.9))]
    shown = re.search(r"process calls least median p90 1 200 ([\d.]+) µs ([\d.]+) µs ([\d.]+) µs", text)
    assert shown
    assert [float(each) for each in shown.groups()] == pytest.approx([float(each) for each in figures], rel=1e-3)


def test_models_timed_in_turns_are_compared_process_by_process() -> None:
    def dots(html: str) -> list[float]:
        return [float(each) for each in re.findall(r'<circle class="speck" cx="([\d.]+)%"', html)]

    far, near = (render([report_documents.document(ms=ms, processes=8)]) for ms in (0.0023, 0.0114))
    assert len(dots(far)) == len(dots(near)) == 8
    assert max(dots(far)) - min(dots(far)) > 60
    assert "line stands at equal speed" in near
    assert "line stands at equal speed" not in far
    assert re.search(r"latency p50: 0\.991× \(0\.986× to 0\.996×\), 8 processes", Page(near).text)


@pytest.mark.parametrize(
    ("text", "shorter"),
    [
        ("0.9500", "0.95"),
        ("1.00×", "1×"),
        ("200 kB", "200 kB"),
        ("5.000 µs", "5 µs"),
        ("50,000 B", "50,000 B"),
        ("0", "0"),
    ],
)
def test_limits_and_ticks_have_no_zeros_at_the_end_of_decimals(text: str, shorter: str) -> None:
    assert numbers.short(text) == shorter


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("size_bytes", 26744, "26.7 kB"),
        ("size_bytes", 999, "999 B"),
        ("latency_p50_ms", 0.002283, "2.283 µs"),
        ("latency_p50_ms", 12.3456, "12.35 ms"),
        ("accuracy", 0.97528, "0.9753"),
        ("accuracy", 0.0095, "0.0095"),
        ("rmse", 0.000123456, "0.0001235"),
        ("rmse", 1234.5678, "1,235"),
    ],
)
def test_figures_have_the_unit_that_their_metric_ends_with(metric: str, value: float, text: str) -> None:
    assert numbers.amount(metric, value) == text


def test_every_figure_has_a_text_for_those_who_do_not_see_it(document: dict[str, Any]) -> None:
    html = render([document])
    pictures = re.findall(r"<svg [^>]*>", html)
    named = [tag for tag in pictures if re.search(r'aria-label="[^"]+"', tag) and 'role="img"' in tag]
    nested = [tag for tag in pictures if re.search(r'<svg x="', tag)]
    hidden = [tag for tag in pictures if 'aria-hidden="true"' in tag]
    assert len(named) > 20
    assert len(named) + len(nested) + len(hidden) == len(pictures)
    page = Page(html)
    assert page.tags.count("table") == page.tags.count("thead")
    assert page.tags.count("th") == sum(1 for tag, name, _ in page.attributes if (tag, name) == ("th", "scope"))
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value for _, name, value in page.attributes if name == "aria-labelledby"} <= set(ids)


@pytest.mark.parametrize(
    "hostile", ['<script>alert("1")</script>', "\"' onload=alert(1) x='", "</style></title><b>", "]]>&lt;&#0;{{ 7*7 }}"]
)
def test_names_in_a_report_cannot_become_markup(hostile: str) -> None:
    def spoil(data: Any) -> Any:
        if isinstance(data, dict):
            return {
                f"{key}{hostile}" if key in ("digit", "machine", "mode", "int8") else key: spoil(data[key])
                for key in data
            }
        if isinstance(data, list):
            return [spoil(each) for each in data]
        keep = {"pass", "fail", "inconclusive", "accuracy", "min", "max", "max_drop", "max_ratio"}
        return f"{data}{hostile}" if isinstance(data, str) and data not in keep else data

    plain, spoilt = small(), spoil(small())
    target = spoilt["targets"].pop("local")
    spoilt["targets"][f"local{hostile}"] = target
    page = Page(render([spoilt], link=f"{hostile}.json"))
    assert set(page.tags) == set(Page(render([plain])).tags)
    assert {name for _, name, _ in page.attributes} == {name for _, name, _ in Page(render([plain])).attributes}
    assert hostile in page.text
    assert "49" not in page.text.replace("{{ 7*7 }}", "") or hostile != "]]>&lt;&#0;{{ 7*7 }}"


def _paths(data: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data[:2]) if isinstance(data, list) else ()
    for key, value in items:
        yield (*prefix, key)
        yield from _paths(value, (*prefix, key))


PATHS = [path for path in _paths(small()) if path not in (("schema_version",), ("verdict",))]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(PATHS),
    st.sampled_from([None, [], {}, "text", 0, -1, 3.5, float("nan"), float("inf"), True, [None], {"a": [{}]}]),
)
@example(("quality",), None)
@example(("targets",), None)
@example(("inspection",), None)
@example(("operators",), None)
@example(("steps",), None)
@example(("config",), None)
def test_whatever_is_missing_or_odd_is_left_out(path: tuple[Any, ...], value: Any) -> None:
    report = small()
    place: Any = report
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert "lessed" in Page(render([report, small()])).text
    if isinstance(place, dict):
        del place[path[-1]]
        assert "lessed" in Page(render([report])).text


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.text("abcWM0.-世", min_size=1, max_size=30)), max_size=14),
    st.floats(0, 1),
)
def test_labels_cover_neither_each_other_nor_a_point(models: list[tuple[float, float, str]], between: float) -> None:
    points = [
        labels.Point(14 + x * 80, 20 + y * 220, 14 + x * 80 - 1, 14 + x * 80 + 1, 10 + y * 220, 30 + y * 220)
        for x, y, _ in models
    ]
    placed = labels.place(points, [name for _, _, name in models], plots.WIDTHS, 270)
    for width in plots.WIDTHS:
        boxes = []
        for point, label in zip(points, placed, strict=True):
            if label:
                length = labels.text_width(label.text)
                x = point.x / 100 * width + label.dx
                left = x - {"start": 0, "middle": length / 2, "end": length}[label.anchor]
                boxes.append((left, point.y + label.dy - 10, left + length, point.y + label.dy + 2))
        dots = [(p.x / 100 * width - 6, p.y - 6, p.x / 100 * width + 6, p.y + 6) for p in points]
        for index, box in enumerate(boxes):
            assert box[0] >= 0
            assert box[2] <= width
            for other in boxes[:index] + dots:
                assert box[2] <= other[0] or other[2] <= box[0] or box[3] <= other[1] or other[3] <= box[1]


def test_a_few_models_apart_all_get_their_names() -> None:
    points = [labels.Point(x, y, x, x, y - 12, y + 12) for x, y in ((20, 200), (60, 60), (61, 62), (90, 60))]
    names = ["candidate", "int8", "dynamic", "baseline"]
    placed = labels.place(points, names, plots.WIDTHS, 270)
    assert [label.text if label else None for label in placed] == names


def test_the_frontier_leaves_out_what_another_model_beats_in_both() -> None:
    def model(name: str, size: float, accuracy: float) -> plots.Variant:
        return plots.Variant(name, "pass", Estimate.exact(size), Estimate.exact(accuracy))

    models = [model("float", 400, 0.99), model("int8", 100, 0.98), model("bad", 200, 0.97), model("tiny", 50, 0.90)]
    plot = plots.pareto("size_bytes", "accuracy", models, "higher")
    at = {mark.variant.name: mark.point for mark in plot.marks}
    assert [f"{value:.4g}" for value in (at["tiny"].x, at["int8"].x, at["float"].x)] == re.findall(
        r"[MH]([\d.]+)", plot.frontier
    )
    errors = plots.pareto("size_bytes", "mae", models, "lower")
    assert errors.frontier == ""


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.booleans(), st.integers(2, 6))
def test_ticks_are_few_and_lie_on_their_axis(low: float, length: float, log: bool, most: int) -> None:
    axis = Axis.around([low, low + length], 10, 90, may_be_log=log)
    ticks = axis.ticks(most)
    places = [axis.at(tick) for tick in ticks]
    assert len(ticks) <= most + 1
    assert all(10 <= place <= 90 for place in places)
    assert places == sorted(places)
    assert axis.at(low) < axis.at(low + length)


@pytest.mark.parametrize("dark", [False, True])
def test_texts_stand_out_from_their_background(dark: bool) -> None:
    style = (Path(plots.__file__).parent / "templates" / "style.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", blocks[1 if dark else 0]))

    def light(name: str) -> float:
        channels = [int(colours[name][index : index + 2], 16) / 255 for index in (1, 3, 5)]
        linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    def contrast(one: str, other: str) -> float:
        low, high = sorted((light(one), light(other)))
        return (high + 0.05) / (low + 0.05)

    names = ("ink", "soft", "candidate", "baseline", "pass", "fail", "doubt")
    pairs = [(name, paper) for name in names for paper in ("card", "paper")]
    pairs += [
        (name, tint) for tint in ("pass-tint", "fail-tint", "doubt-tint") for name in ("ink", "soft", "fail", "pass")
    ]
    pairs += [("doubt", "doubt-tint")]
    assert [(pair, contrast(*pair)) for pair in pairs if contrast(*pair) < 4.5] == []


def test_the_command_joins_reports_into_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = tmp_path / "report" / "46"
    artifact.mkdir(parents=True)
    first, second, _ = several()
    (artifact / "report.json").write_text(json.dumps(first))
    (tmp_path / "other.json").write_text(json.dumps(second))
    page = tmp_path / "page.html"
    assert main(["report", str(artifact), str(tmp_path / "other.json"), "-o", str(page)]) == 0
    assert capsys.readouterr().out == f"wrote {page} ({page.stat().st_size:,} bytes)\n"
    html = page.read_text()
    assert 'href="report/46/report.json"' in html
    assert "and 1 variant<" in html
    assert main(["report", str(artifact), "-o", str(tmp_path / "absent" / "page.html")]) == 1
    assert "absent" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, r"cannot read .*report\.json"),
        (lambda path: path.write_text("{"), "is not JSON"),
        (lambda path: path.write_text('{"schema_version": 1, "verdict": {}}'), "version 2 but of 1; evaluate"),
        (lambda path: path.write_text("[]"), "version 2 but of None"),
        (lambda path: path.write_text('{"schema_version": 2}'), "no report"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not JSON"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, write: Callable[[Path], Any], message: str) -> None:
    write(tmp_path / "report.json")
    with pytest.raises(ConfigError, match=message):
        load(tmp_path)
