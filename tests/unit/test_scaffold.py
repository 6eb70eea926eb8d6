"""``tfx-edge init``: what it makes, and what it refuses without leaving anything."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from sklearn import datasets

from tfx_edge.cli import main
from tfx_edge.edge_evaluator.spec import EdgeEvaluatorConfig

FILES = {
    ".gitignore",
    "README.md",
    "airflow_dag.py",
    "data/wine.csv",
    "gate.json",
    "model/wine_model.py",
    "pipeline.py",
    "pytest.ini",
    "requirements.txt",
    "run_local.py",
    "tests/test_model.py",
    "tests/test_pipeline.py",
    "tests/test_preprocessing.py",
}


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["init", *arguments]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("tfx-edge: error: ")
    return line


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "My_wines"
    assert main(["init", str(folder)]) == 0
    return folder


def test_a_project_has_all_its_files(project: Path) -> None:
    assert files_in(project) == FILES
    assert [path.name for path in project.parent.iterdir()] == ["My_wines"]


def test_files_are_filled_in_and_can_be_read_by_python(project: Path) -> None:
    for path in project.rglob("*"):
        if path.is_file():
            assert "$" not in path.read_text(), path
        if path.suffix == ".py":
            compile(path.read_text(), path, "exec")
    assert 'NAME = "my-wines"' in (project / "pipeline.py").read_text()
    assert f"tfx-edge[kubeflow]=={version('tfx-edge')}" in (project / "requirements.txt").read_text().splitlines()


def test_the_gate_is_a_configuration(project: Path) -> None:
    config = EdgeEvaluatorConfig.parse(json.loads((project / "gate.json").read_text()))
    assert set(config.thresholds) == {"accuracy", "size_bytes", "latency_p50_ms"}
    assert config.relative == ["accuracy", "size_bytes"]


def test_the_data_is_the_wine_data(project: Path) -> None:
    with (project / "data" / "wine.csv").open() as file:
        header, *rows = csv.reader(file)
    wine = datasets.load_wine()
    assert header[-1] == "cultivar"
    assert len(header) == len(set(header)) == wine.data.shape[1] + 1
    np.testing.assert_array_equal(np.array(rows, float)[:, :-1], wine.data)
    assert [int(row[-1]) for row in rows] == wine.target.tolist()


def test_the_folder_has_the_permissions_of_any_new_folder(project: Path) -> None:
    other = project.parent / "other"
    other.mkdir()
    assert project.stat().st_mode == other.stat().st_mode


def test_an_empty_folder_is_filled_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "here and now"
    folder.mkdir()
    inode = folder.stat().st_ino
    monkeypatch.chdir(folder)
    assert main(["init", "."]) == 0
    assert "'here-and-now'" in capsys.readouterr().out
    assert folder.stat().st_ino == inode
    assert files_in(Path.cwd()) == FILES


def test_the_command_that_is_shown_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "two words"
    main(["init", str(folder), "--name", "wine"])
    command = capsys.readouterr().out.partition("run it: ")[2].replace("python run_local.py", "ls")
    assert "run_local.py" in subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["", "Wine", "9lives", "a_b", "a.b", "-a", "wine\n", "straße", "a" * 64])
def test_a_name_that_an_orchestrator_refuses_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    line = refusal(capsys, str(tmp_path / "wine"), f"--name={name}")
    assert f"--name is {name!r}" in line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_gives_no_name_asks_for_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, str(tmp_path / "2nd try"))
    assert "'2nd-try'" in line
    assert "--name" in line
    assert main(["init", str(tmp_path / "2nd try"), "--name", "second-try"]) == 0


def test_what_is_there_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".hidden").write_text("mine")
    (tmp_path / "file").write_text("mine")
    assert "holds something" in refusal(capsys, str(tmp_path / "full"))
    assert "is a file" in refusal(capsys, str(tmp_path / "file"))
    assert "make that one first" in refusal(capsys, str(tmp_path / "none" / "wine"))
    assert files_in(tmp_path) == {"full/.hidden", "file"}


def test_what_the_system_refuses_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "File name too long" in refusal(capsys, str(tmp_path / ("a" * 300)), "--name=wine")
    assert "make that one first" in refusal(capsys, str(Path(__file__) / "wine"))
    assert "cannot write into '/proc/wine'" in refusal(capsys, "/proc/wine")


def test_a_project_is_not_made_twice(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "gate.json").write_text("{}")
    capsys.readouterr()
    refusal(capsys, str(project))
    assert (project / "gate.json").read_text() == "{}"


@pytest.mark.parametrize("exists", [False, True])
def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path, exists: bool) -> None:
    """The limit on a file's size stands for the disk: the data is larger."""
    folder = tmp_path / "wine"
    if exists:
        folder.mkdir()
    limited = "import resource, sys; from tfx_edge.cli import main; " + (
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000)); sys.exit(main(['init', {str(folder)!r}]))"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == ([folder] if exists else [])
    assert files_in(tmp_path) == set()
