"""The build context of a pipeline's image, and what is said where docker cannot build it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

pytest.importorskip("kfp", reason="the extra 'kubeflow' is not installed")

from tfx_edge.cli import main
from tfx_edge.errors import ConfigError
from tfx_edge.kubeflow.image import distributions, wheels

PIPELINE = """
    import beside
    from tfx.components import ImportExampleGen, Transform
    from tfx.components import SchemaGen, StatisticsGen
    from tfx.dsl.component.experimental.decorators import component
    from tfx.orchestration.pipeline import Pipeline

    @component
    def tell():
        beside.tell()

    def create_pipeline(module_file: str):
        examples = ImportExampleGen(input_base="gs://bucket/data")
        statistics = StatisticsGen(examples=examples.outputs["examples"])
        schema = SchemaGen(statistics=statistics.outputs["statistics"])
        transform = Transform(
            examples=examples.outputs["examples"], schema=schema.outputs["schema"], module_file=module_file
        )
        return Pipeline("p", "gs://bucket/root", components=[examples, statistics, schema, transform, tell()])
"""
FILES = {
    "the_pipeline.py": PIPELINE,
    "beside.py": "def tell(): pass",
    "unused.py": "",
    "code/features.py": "import json\nimport hypothesis\nimport helpers.scale\nimport absent_on_this_machine",
    "code/helpers/__init__.py": "",
    "code/helpers/scale.py": "from . import factors",
    "code/helpers/factors.txt": "1 2 3",
    "code/helpers/__pycache__/old.pyc": "",
}


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a pipeline's author."""
    folder = tmp_path_factory.mktemp("author")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    return folder


def image(author: Path, *options: str) -> int:
    reference = f"{author}/the_pipeline.py"
    return main(["kubeflow", "image", reference, "--arg", f"module_file={author}/code/features.py", *options])


@pytest.fixture(scope="module")
def context(author: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image") / "context"
    assert image(author, "--context", str(folder)) == 0
    return folder


def test_the_context_holds_what_tasks_import_and_nothing_else(context: Path) -> None:
    modules = context / "modules"
    found = {str(file.relative_to(modules)) for file in modules.rglob("*") if file.is_file()}
    assert found == {
        "the_pipeline.py",
        "beside.py",
        "features.py",
        "helpers/__init__.py",
        "helpers/scale.py",
        "helpers/factors.txt",
    }
    assert {file.name for file in context.iterdir()} == {"Dockerfile", "requirements.txt", "wheels", "modules"}


def test_pins_are_what_is_installed_here(context: Path) -> None:
    pins = dict(line.split("==") for line in (context / "requirements.txt").read_text().splitlines())
    assert {"tfx", "tensorflow", "kfp", "hypothesis"} <= set(pins)
    assert not {"tfx-edge", "pytest", "ruff", "tflite-micro"} & set(pins)
    assert [name for name, version in pins.items() if metadata.version(name) != version] == []


def test_the_wheel_is_this_package(context: Path) -> None:
    (wheel,) = (context / "wheels").iterdir()
    program = (
        f"import sys; sys.path.insert(0, {str(wheel)!r})\n"
        "import importlib.metadata, tfx_edge.kubeflow.image, tfx_edge.pipelines.digits\n"
        "print(tfx_edge.__file__, importlib.metadata.version('tfx-edge'))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [f"{wheel}/tfx_edge/__init__.py", metadata.version("tfx-edge")]


def test_the_image_is_made_in_two_stages_and_runs_as_another_user_than_root(context: Path) -> None:
    text = (context / "Dockerfile").read_text()
    first, last = text.split("\nFROM ")[1:]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert first.splitlines()[0] == f"python:{version} AS installed"
    assert last.splitlines()[0] == f"python:{version}-slim"
    assert "ARG PIP_INDEX_URL" in first
    assert "ARG" not in last
    assert last.splitlines()[-1] == "USER 1000:1000"


def test_a_context_takes_the_place_of_an_earlier_one(
    author: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "context"
    assert image(author, "--context", str(folder), "--base", "registry/python:1") == 0
    assert f"docker build --tag tfx-edge:{metadata.version('tfx-edge')} {folder}" in capsys.readouterr().out
    (folder / "modules" / "stale.py").write_text("")
    assert image(author, "--context", str(folder), "--tag", "registry/p:2", "--builder", "registry/compilers") == 0
    assert "docker build --tag registry/p:2" in capsys.readouterr().out
    assert not (folder / "modules" / "stale.py").exists()
    text = (folder / "Dockerfile").read_text()
    assert "registry/python:1" not in text
    assert "FROM registry/compilers AS" in text


def test_a_folder_with_other_files_is_left_alone(
    author: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("Dockerfile", "modules"):
        (tmp_path / name).write_text("mine")
    assert image(author, "--context", str(tmp_path)) == 1
    assert f"{tmp_path} holds other files" in capsys.readouterr().err
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"Dockerfile": "mine", "modules": "mine"}


def test_two_modules_of_one_name_are_refused(author: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "author"
    shutil.copytree(author, own)
    (own / "the_pipeline.py").rename(own / "second_pipeline.py")
    (own / "code" / "features.py").write_text("import beside")
    (own / "code" / "beside.py").write_text("other = True")
    reference = f"{own}/second_pipeline.py"
    module_file = f"module_file={own}/code/features.py"
    status = main(["kubeflow", "image", reference, "--arg", module_file, "--context", str(tmp_path / "context")])
    assert status == 1
    assert "are both module 'beside' in an image; rename one" in capsys.readouterr().err


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path for distributions that are only described."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def describe(folder: Path, name: str, *requires: str, origin: str = "") -> None:
    place = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(
        "\n".join(
            ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {r}" for r in requires)]
        )
    )
    (place / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    (place / "RECORD").write_text("".join(f"{place.name}/{file},,\n" for file in ("METADATA", "WHEEL", "RECORD")))
    if origin:
        (place / "direct_url.json").write_text(origin)


def test_extras_and_markers_decide_what_is_needed(unpacked: Path) -> None:
    describe(unpacked, "edge-a", "edge-b[fast]", "edge-c; extra == 'more'", "edge-d; python_version < '3'")
    describe(unpacked, "edge-b", "edge-a", "edge-e; extra == 'fast'", "edge-f; extra == 'slow'")
    describe(unpacked, "edge-e", "edge-absent")
    found = distributions.closure(["edge-a"])
    assert found.pinned == ["edge-a==1.0", "edge-b==1.0", "edge-e==1.0"]
    assert found.missing == ["edge-absent, which edge-e requires"]


def test_what_no_index_has_is_packed_as_it_is_installed(unpacked: Path, tmp_path: Path) -> None:
    describe(unpacked, "edge-g", origin='{"url": "git+https://example.com/g", "vcs_info": {}}')
    (distribution,) = distributions.closure(["edge-g"]).local
    wheels.make(distribution, tmp_path / "wheels")
    wheels.make(metadata.distribution("packaging"), tmp_path / "wheels")
    target = tmp_path / "target"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, *(str(wheel) for wheel in (tmp_path / "wheels").iterdir())], check=True)
    program = "import packaging.version; print(packaging.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(target)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == f"{target}/packaging/__init__.py"
    assert (target / "edge_g-1.0.dist-info").is_dir()


def test_a_wheel_holds_no_module_that_an_earlier_build_left(tmp_path: Path, unpacked: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "build" / "lib").mkdir(parents=True)
    (tree / "build" / "lib" / "deleted.py").write_text("")
    (tree / "kept.py").write_text("")
    (tree / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "edge-h"\nversion = "1"\n[tool.setuptools]\npy-modules = ["kept"]\n'
    )
    describe(unpacked, "edge-h", origin=f'{{"url": "file://{tree}", "dir_info": {{"editable": true}}}}')
    (distribution,) = distributions.closure(["edge-h"]).local
    wheels.make(distribution, tmp_path / "wheels")
    (wheel,) = (tmp_path / "wheels").iterdir()
    assert [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")] == ["kept.py"]
    shutil.rmtree(tree)
    with pytest.raises(ConfigError, match="is gone; install the package again"):
        wheels.make(distribution, tmp_path / "wheels")


def test_without_docker_the_error_tells_both_ways_on(
    author: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert image(author) == 1
    assert "no docker on this machine; install it, or write the context with --context" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed")
def test_without_a_daemon_the_error_says_where_it_was_looked_for(
    author: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    assert image(author) == 1
    told = capsys.readouterr().err
    assert f"{tmp_path}/no.sock" in told
    assert "set DOCKER_HOST" in told


@pytest.mark.parametrize("status", [0, 1])
def test_docker_builds_a_whole_context_and_its_failure_is_the_commands(
    author: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], status: int
) -> None:
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\n[ "$1" = build ] || exit 0\necho "$@" >"$LOG"\nfor folder; do :; done\nls "$folder" >>"$LOG"\n'
        f"echo step 1 of 9\nexit {status}\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    options = ("--tag", "registry/p:1", "--network", "host", "--build-arg", "PIP_INDEX_URL=http://localhost/simple")
    assert image(author, *options) == status
    command, *files = (tmp_path / "log").read_text().splitlines()
    assert command.startswith(
        "build --tag registry/p:1 --network host --build-arg PIP_INDEX_URL=http://localhost/simple /"
    )
    assert files == ["Dockerfile", "modules", "requirements.txt", "wheels"]
    assert not Path(command.split()[-1]).exists()
    told = capfd.readouterr()
    assert "step 1 of 9" in told.err
    if status:
        assert "docker build of registry/p:1 ended with status 1" in told.err
    else:
        assert "built registry/p:1" in told.out
