"""The ``tfx-edge`` command, as a person or a script would use it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import lite_models
import pytest
import test_lineage

from tfx_edge.cli import main
from tfx_edge.lite.inspect import inspect
from tfx_edge.model_metadata.metadata import read_metadata, with_metadata
from tfx_edge.model_metadata.settings import Metadata, TensorMetadata


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return lite_models.write(tmp_path, lite_models.float_island(), "island.tflite")


def test_inspect_prints_a_readable_summary(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(model)]) == 0
    text = capsys.readouterr().out
    expected = [
        r"^precision +mixed$",
        rf"^size +{model.stat().st_size:,} bytes, [\d,]+ after gzip$",
        rf"^sha256 +{inspect(model).sha256}$",
        r"^weights +2 \(2,952 bytes\) quantized, 0 \(0 bytes\) float$",
        r"^float islands +SIN$",
        r"^Flex ops +none$",
        r"^in +image +1 x 8 x 8 x 1 +int8 +0\.0039\d+ +-128$",
        r"^FULLY_CONNECTED +1 +int8 +int8 +integer$",
        r"^SIN +1 +float32 +float32 +float$",
        r"^int8 +2,952$",
        r"^serving_default +image \(serving_default_image:0\) +logits \(",
    ]
    assert [pattern for pattern in expected if not re.search(pattern, text, re.MULTILINE)] == []
    assert max(len(line) for line in text.splitlines()[1:]) <= 100
    assert "\x1b" not in text


def test_inspect_shows_every_signature_and_subgraph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", str(lite_models.write(tmp_path, lite_models.two_signatures()))])
    text = capsys.readouterr().out
    assert "operators of embed" in text
    assert "operators of score" in text
    assert re.search(r"^score +features \(score_features:0\) +score \(", text, re.MULTILINE)


def test_inspect_names_varying_dimensions_and_flex_ops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", str(lite_models.write(tmp_path, lite_models.any_batch()))])
    main(["inspect", str(lite_models.write(tmp_path, lite_models.flex()))])
    text = capsys.readouterr().out
    assert re.search(r"^in +image +\? x 8 x 8 x 1 +float32$", text, re.MULTILINE)
    assert re.search(r"^Flex ops +FlexMatrixDeterminant$", text, re.MULTILINE)


def test_names_in_the_file_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = lite_models.two_signatures()
    assert content.count(b"features") > 2
    main(["inspect", str(lite_models.write(tmp_path, content.replace(b"features", b"\x1b[31m\nxy")))])
    text = capsys.readouterr().out
    assert "\ufffd[31m\ufffdxy" in text
    assert "\x1b" not in text


def test_inspect_json_is_the_whole_inspection(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--json", str(model)]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(inspect(model).to_dict()))


def test_an_error_is_one_line_on_stderr_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "absent.tflite")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tfx-edge: error: ")
    assert "absent.tflite" in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["-v", "inspect", "absent"], ["inspect", "absent", "--verbose"]])
def test_verbose_shows_where_an_error_arose(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert "Traceback" in message
    assert "FileNotFoundError" in message


@pytest.mark.parametrize("arguments", [[], ["inspect"], ["shrink", "a.tflite"], ["lineage"], ["inspect", "a", "--xml"]])
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: tfx-edge" in capsys.readouterr().err


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"tfx-edge {version('tfx-edge')}\n"


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from tfx_edge.cli import main
try:
    main(["--help"])
except SystemExit as ended:
    heavy = {"tensorflow", "tfx", "keras", "tf_keras", "numpy", "pydantic", "rich", "ml_metadata", "ai_edge_litert"}
    print(ended.code, sorted(heavy & set(sys.modules)))
"""
    lines = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert lines[0].startswith("usage: tfx-edge")
    assert lines[-1] == "0 []"


def test_a_reader_that_stops_early_is_no_error(model: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tfx_edge.cli", "inspect", str(model)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_lineage_tells_what_a_pushed_file_was_made_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = test_lineage.Digits(tmp_path)
    store.judge(True)
    store.push(store.model)
    arguments = ["lineage", str(store.file), "--metadata", str(store.database)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert re.search(r"^verdict: blessed by EdgeEvaluator\.candidate", text, re.MULTILINE)
    assert re.search(rf"^ +fingerprint +{re.escape(test_lineage.FINGERPRINT)}$", text, re.MULTILINE)
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sha256"] == test_lineage.SHA256
    store.file.write_bytes(b"changed")
    assert main(arguments) == 1
    assert "changed after the push" in capsys.readouterr().err


def test_inspect_prints_what_the_file_tells_apps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lite_models.write(tmp_path, lite_models.float_island())
    assert main(["inspect", "--model-metadata", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == {}
    said = Metadata(name="größe", outputs={"logits": TensorMetadata(labels=tuple("abcdefghij"))})
    path.write_bytes(with_metadata(path.read_bytes(), said))
    main(["inspect", "--model-metadata", str(path)])
    printed = json.loads(capsys.readouterr().out)
    assert printed == read_metadata(path)
    assert printed["name"] == "größe"
