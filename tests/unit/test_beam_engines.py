"""Each engine of Beam's that can be installed here scores the same examples, and a broken one blesses nothing."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam
import lite_models
import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from tfx_edge import EdgeReport
from tfx_edge.edge_evaluator.executor import Executor
from tfx_edge.errors import ConfigError, DataError, DeviceError
from tfx_edge.gate import beam_job, beam_scoring
from tfx_edge.gate.beam_engine import Engine
from tfx_edge.gate.beam_parts import Piece
from tfx_edge.gate.example_files import ExampleFiles
from tfx_edge.gate.own_metrics import own_metrics
from tfx_edge.gate.quality import Quality, QualityOptions, evaluate_quality

IMAGE = (
    'name: "image" type: FLOAT presence { min_fraction: 1 } shape { dim { size: 8 } dim { size: 8 } dim { size: 1 } }'
)
NUMBERS = 'name: "x" type: FLOAT presence { min_fraction: 1 } shape { dim { size: 4 } }'
LABEL = 'feature { name: "label" type: INT presence { min_fraction: 1 } shape { } }'
BATCH = 64
EXAMPLES = 10 * BATCH + 7
TWO_PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
DASK = importlib.util.find_spec("distributed") is not None
NEEDS_DASK = pytest.mark.skipif(
    not DASK, reason="distributed is not installed: Beam's DaskRunner needs the current stack"
)


def serialized_schema(feature: str) -> bytes:
    return text_format.Parse(f"feature {{ {feature} }} {LABEL}", schema_pb2.Schema()).SerializeToString()


def write_examples(file: Path, name: str, rows: np.ndarray, labels: np.ndarray) -> str:
    import tensorflow as tf

    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        for row, label in zip(rows, labels, strict=True):
            features = {
                name: tf.train.Feature(float_list=tf.train.FloatList(value=row.reshape(-1))),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return str(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An int8 and a float model, and their eval split in one file, as a local run of ExampleGen leaves it."""
    root = tmp_path_factory.mktemp("engines")
    for name, content in {"int8": lite_models.int8(), "float": lite_models.float32()}.items():
        serving = root / name / "Format-Serving"
        serving.mkdir(parents=True)
        lite_models.write(serving, content)
        document = {"sha256": hashlib.sha256(content).hexdigest(), "steps": []}
        (serving / "edge.json").write_text(json.dumps(document))
    rng = np.random.default_rng(0)
    labels = rng.integers(10, size=EXAMPLES)
    write_examples(
        root / "examples/Split-eval/data-00000-of-00001.gz", "image", rng.random((EXAMPLES, 64), np.float32), labels
    )
    (root / "schema").mkdir()
    schema = text_format.Parse(f"feature {{ {IMAGE} }} {LABEL}", schema_pb2.Schema())
    (root / "schema/schema.pbtxt").write_text(text_format.MessageToString(schema))
    return root


def evaluate(folder: Path, pipeline_args: list[str], candidate: str = "int8", **options: Any) -> Quality:
    files = tuple(str(file) for file in sorted((folder / "examples/Split-eval").iterdir()))
    return evaluate_quality(
        folder / candidate / "Format-Serving/tflite",
        folder / "float/Format-Serving/tflite",
        ExampleFiles(files, serialized_schema(IMAGE), "label"),
        QualityOptions(
            **{"metrics": ["accuracy", "log_loss", "macro_f1"], "slices": ["label"], "min_slice_size": 30}
            | {"batch_size": BATCH}
            | options
        ),
        pipeline_args=pipeline_args,
    )


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Any]:
    found = evaluate(folder, []).to_dict()
    assert found["examples"] == EXAMPLES
    assert len(found["slices"]) == 10
    return found


@pytest.fixture
def four(tmp_path: Path) -> ExampleFiles:
    """Four numbers an example; all of the last of three batches are 0."""
    rows = np.random.default_rng(0).uniform(3, 4, (3 * BATCH, 4)).astype(np.float32)
    rows[2 * BATCH :] = 0
    file = write_examples(tmp_path / "four/part.gz", "x", rows, np.arange(3 * BATCH) % 4)
    return ExampleFiles((file,), serialized_schema(NUMBERS), "label")


def evaluate_endless(folder: Path, examples: ExampleFiles, pipeline_args: list[str]) -> Quality:
    model = lite_models.write(folder, lite_models.endless(), "endless.tflite")
    options = QualityOptions(metrics=["accuracy"], batch_size=BATCH, scores="logits")
    return evaluate_quality(model, None, examples, options, pipeline_args=pipeline_args)


def dies(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    os.kill(os.getpid(), signal.SIGKILL)
    return outputs[:, 0]


def waits_for_another(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    Path(os.environ["SEEN"], f"{os.getpid()}").touch()
    wait_for(lambda: len(os.listdir(os.environ["SEEN"])) > 1)
    return outputs[:, 0]


DYING, WAITING = (
    own_metrics({name: {"function": function, "better": "lower", "per_example": True}})
    for name, function in (("dying", dies), ("waiting", waits_for_another))
)


def closed_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def portable() -> Iterator[list[str]]:
    """Beam's job service and a pool of workers, as processes of their own."""
    ports = [closed_port() for _ in range(2)]
    modules = {
        "runners.portability.local_job_service_main": f"--port={ports[0]}",
        "runners.worker.worker_pool_main": f"--service_port={ports[1]}",
    }
    # The pool starts its workers as "python".
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": search, "PYTHONPATH": os.pathsep.join(sys.path)}
    servers = [
        subprocess.Popen(
            [sys.executable, "-m", f"apache_beam.{module}", option],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for module, option in modules.items()
    ]
    try:
        for port in ports:
            wait_for(lambda port=port: answers(port))
        yield [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{ports[0]}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{ports[1]}",
        ]
    finally:
        for server in servers:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Any, seconds: float = 60) -> None:
    for _ in range(int(seconds / 0.2)):
        if condition():
            return
        time.sleep(0.2)
    raise AssertionError(f"nothing happened within {seconds} s")


class TestScoresTheSame:
    def test_two_processes_that_share_one_file_for_the_whole_component(
        self, folder: Path, expected: dict[str, Any], tmp_path: Path
    ) -> None:
        kinds = {
            "blessing": standard_artifacts.ModelBlessing,
            "infra_blessing": standard_artifacts.InfraBlessing,
            "report": EdgeReport,
        }
        outputs = {key: [kind()] for key, kind in kinds.items()}
        for key, (made,) in outputs.items():
            made.uri = str(tmp_path / key)
        inputs = {
            "model": [standard_artifacts.Model()],
            "baseline_model": [standard_artifacts.Model()],
            "examples": [standard_artifacts.Examples()],
            "schema": [standard_artifacts.Schema()],
        }
        for key, uri in {
            "model": "int8",
            "baseline_model": "float",
            "examples": "examples",
            "schema": "schema",
        }.items():
            inputs[key][0].uri = str(folder / uri)
        inputs["examples"][0].split_names = '["eval"]'
        config = {
            "thresholds": {"accuracy": {"min": 0.01}, "log_loss": {"max": 1e3}, "macro_f1": {"min": 1e-6}},
            "slices": ["label"],
            "min_slice_size": 30,
            "batch_size": BATCH,
        }
        context = BaseBeamExecutor.Context(
            beam_pipeline_args=TWO_PROCESSES, tmp_dir=str(tmp_path / "tmp"), unique_id="1"
        )
        properties = {"config": json.dumps(config), "label_key": "label"}
        Executor(context).Do(inputs, outputs, properties)
        report = json.loads((tmp_path / "report/report.json").read_text())
        assert report["verdict"]["blessed"], report["verdict"]["reason"]
        assert report["quality"] == expected
        assert not list((tmp_path / "tmp").rglob("*.npz"))

    def test_portable_runner_with_a_job_service_and_a_worker_pool(
        self, folder: Path, expected: dict[str, Any], portable: list[str]
    ) -> None:
        # Beam by itself would take 3 s as a limit of the whole job.
        arguments = [*portable, "--tfx_edge_stripes=3", "--job_server_timeout=3"]
        assert evaluate(folder, arguments).to_dict() == expected

    @NEEDS_DASK
    def test_dask(self, folder: Path, expected: dict[str, Any]) -> None:
        assert evaluate(folder, ["--runner=DaskRunner"]).to_dict() == expected


@pytest.mark.parametrize("engine", [TWO_PROCESSES, pytest.param(["--runner=DaskRunner"], marks=NEEDS_DASK)])
def test_workers_score_at_the_same_time(
    folder: Path, engine: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEN", str(tmp_path))
    found = evaluate(folder, engine, metrics=["waiting"], own=WAITING)
    assert found.examples == EXAMPLES
    assert len(list(tmp_path.iterdir())) > 1


class TestFailsClosed:
    def test_a_piece_that_an_engine_loses(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        here = Engine.parse([])

        def lossy(pieces: list[Piece], engine: Engine, run: str) -> None:
            beam_job.run_here([piece for piece in pieces if piece.stripe != 1], here, run)

        monkeypatch.setattr(beam_scoring, "run_watched", lossy)
        with pytest.raises(DataError, match=r"the result of .*data-00000-of-00001\.gz is missing.*examples were lost"):
            evaluate(folder, TWO_PROCESSES, metrics=["accuracy"])

    def test_a_stripe_that_was_scored_twice_and_another_not(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = Engine.parse([])

        def wrong(pieces: list[Piece], engine: Engine, run: str) -> None:
            beam_job.run_here([piece._replace(stripe=0) for piece in pieces], here, run)

        monkeypatch.setattr(beam_scoring, "run_watched", wrong)
        with pytest.raises(DataError, match="in stripes of 327, 327 examples, which make no whole file"):
            evaluate(folder, TWO_PROCESSES, metrics=["accuracy"])

    def test_a_worker_that_dies(self, folder: Path) -> None:
        with pytest.raises(DeviceError, match=r"failed: a worker died: Worker subprocess exited with return code"):
            evaluate(folder, TWO_PROCESSES, metrics=["dying"], own=DYING)

    def test_a_worker_of_a_pool_that_dies(self, folder: Path, portable: list[str]) -> None:
        with pytest.raises(DeviceError, match=r"no worker .* finished a batch within 2 s \(0 pieces .* a worker died"):
            evaluate(folder, [*portable, "--tfx_edge_batch_timeout_s=2"], metrics=["dying"], own=DYING)

    def test_a_model_that_hangs_on_a_worker(self, tmp_path: Path, four: ExampleFiles) -> None:
        with pytest.raises(
            DeviceError, match=r"no worker .* finished a batch within 2 s .*: the model or a worker hang"
        ):
            evaluate_endless(tmp_path, four, [*TWO_PROCESSES, "--tfx_edge_batch_timeout_s=2"])

    def test_workers_that_do_not_start_in_time(self, folder: Path) -> None:
        with pytest.raises(DeviceError, match=r"no worker .* read a batch of examples within 0\.5 s.*_start_timeout_s"):
            evaluate(folder, [*TWO_PROCESSES, "--tfx_edge_start_timeout_s=0.5", "--tfx_edge_batch_timeout_s=1"])

    def test_no_job_service(self, folder: Path) -> None:
        nowhere = f"localhost:{closed_port()}"
        with pytest.raises(DeviceError, match=f"no job service answers at {nowhere} within 1 s"):
            evaluate(folder, ["--runner=PortableRunner", f"--job_endpoint={nowhere}", "--job_server_timeout=1"])

    def test_no_worker_pool(self, folder: Path, portable: list[str]) -> None:
        arguments = [*portable[:-1], f"--environment_config=localhost:{closed_port()}"]
        with pytest.raises(DeviceError, match=r"the Beam job .* failed: grpc.*Connection refused"):
            evaluate(folder, arguments)

    @pytest.mark.skipif(DASK, reason="this stack has a Beam whose DaskRunner works")
    def test_dask_is_refused_on_a_beam_where_it_does_not_work(self, folder: Path) -> None:
        with pytest.raises(
            ConfigError, match=f"does not work in Beam {apache_beam.__version__}; use the current stack"
        ):
            evaluate(folder, ["--runner", "apache_beam.runners.dask.dask_runner.DaskRunner"])


def test_the_job_ends_with_the_process_that_started_it(tmp_path: Path, four: ExampleFiles) -> None:
    code = f"import sys; sys.path[:0] = {sys.path!r}; import test_beam_engines as t; t.hang(*sys.argv[1:])"
    started = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), *four.files],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        wait_for(lambda: list(tmp_path.rglob("alive-*")))
        (group,) = {os.getpgid(int(process)) for process in processes() if of_a_job_in(tmp_path, process)}
        assert len(list(in_group(group))) > 1
    finally:
        started.kill()
        started.wait()
    wait_for(lambda: not list(in_group(group)))


def hang(folder: str, file: str) -> None:
    examples = ExampleFiles((file,), serialized_schema(NUMBERS), "label")
    evaluate_endless(Path(folder), examples, TWO_PROCESSES)


def processes() -> list[str]:
    return [path.name for path in Path("/proc").glob("[0-9]*")]


def of_a_job_in(folder: Path, process: str) -> bool:
    with contextlib.suppress(OSError):
        command = Path("/proc", process, "cmdline").read_bytes()
        return b"tfx_edge.gate.beam_job" in command and str(folder).encode() in command
    return False


def in_group(group: int) -> Iterator[str]:
    """The processes of a group that have not ended."""
    for process in processes():
        with contextlib.suppress(OSError):
            state, _, its_group = Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                yield process
