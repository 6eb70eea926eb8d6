"""How the throughput of an evaluation grows with workers, engine by engine, as a table in Markdown.

    python benchmarks/engines.py [--examples 1000000] [--heavy 100000] [--workers 1 2] [--rounds 3]

The examples are scikit-learn's 1,797 digits in one gzipped file, repeated as often as it takes, as a local ExampleGen
leaves them: with several workers each of them reads all of it and scores its share. One model is the int8 CNN of
``benchmarks/evaluation.py`` (0.4 M multiplications), one is an int8 CNN of 12 M, which needs most of the time for
itself. Each round runs every engine once, in a process of its own. An engine's start is what passes until a worker has
read its first batch; "by rate" leaves it out and "by time" does not. Processor time is that of all processes.

- in process: what the component does without workers; no Beam.
- in memory: Beam's DirectRunner in this process.
- processes: Beam's multi-processing mode.
- portable: Beam's own job service and a worker pool (EXTERNAL). The service gives a job one worker; here it is told how
  many to give.
- Dask: a scheduler and workers of one thread, where ``distributed`` is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.util
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import evaluation

BATCH = evaluation.BATCH
CHILD_SUBREAPER = 36


def prepare(work: Path, examples: int, heavy: int) -> None:
    """Writes both files of examples and both models; kept when they are there."""
    import numpy as np
    import tensorflow as tf
    import tf_keras

    for count in (examples, heavy):
        evaluation.prepare(work, count)
    if (work / "heavy/tflite").is_file():
        return
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    body = [layers.Conv2D(64, 3, padding="same", activation="relu") for _ in range(6)]
    head = [layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")]
    model = tf_keras.Sequential([layers.InputLayer((8, 8, 1), name="image"), *body, *head])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    samples = np.random.default_rng(0).random((50, 1, 8, 8, 1), np.float32)
    converter.representative_dataset = lambda: ([sample] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (work / "heavy").mkdir(exist_ok=True)
    (work / "heavy/tflite").write_bytes(converter.convert())


def engines(workers: list[int]) -> list[tuple[str, int]]:
    """The names of the engines that can run here, each with its number of workers."""
    kinds = ["processes", "portable", *(["Dask"] if importlib.util.find_spec("distributed") else [])]
    return [("in process", 1), ("in memory", 1), *((kind, count) for kind in kinds for count in workers)]


@contextlib.contextmanager
def arguments(kind: str, workers: int) -> Iterator[list[str]]:
    """Beam's arguments for an engine, whose servers run meanwhile."""
    if kind == "processes":
        yield ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    elif kind == "portable":
        job, pool = free_port(), free_port()
        beam = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main"]
        service = [sys.executable, __file__, f"--serve={job}", "--workers", str(workers)]
        with servers([service, [*beam, f"--service_port={pool}"]], [job, pool]):
            yield [
                "--runner=PortableRunner",
                f"--job_endpoint=localhost:{job}",
                "--environment_type=EXTERNAL",
                f"--environment_config=localhost:{pool}",
                f"--tfx_edge_stripes={workers}",
            ]
    elif kind == "Dask":
        port = free_port()
        dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host=127.0.0.1", f"--port={port}"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", "--nthreads=1"]
        commands = [[*dask, "--no-dashboard"], *[[*worker, "--no-dashboard"]] * workers]
        with servers(commands, [port]):
            yield [
                "--runner=apache_beam.runners.dask.dask_runner.DaskRunner",
                f"--dask_client_address=tcp://127.0.0.1:{port}",
                f"--tfx_edge_stripes={workers}",
            ]
    else:
        yield []


def serve(port: int, workers: int) -> None:
    """Beam's job service, whose jobs have several workers, until the process is ended."""
    from apache_beam.portability.api import beam_job_api_pb2
    from apache_beam.runners.portability import local_job_service
    from apache_beam.runners.portability.fn_api_runner import fn_runner

    class Job(local_job_service.BeamJob):
        def _invoke_runner(self) -> Any:
            self.set_state(beam_job_api_pb2.JobState.RUNNING)
            runner = fn_runner.FnApiRunner(provision_info=self._provision_info)
            runner._num_workers = workers
            return runner.run_via_runner_api(self._pipeline_proto, self.pipeline_options())

    local_job_service.LocalJobServicer(beam_job_type=Job).start_grpc_server(port)
    signal.pause()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def servers(commands: list[list[str]], ports: list[int]) -> Iterator[None]:
    """Runs processes; ready when the ports answer."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # the pool starts "python"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [
        subprocess.Popen(command, env={**os.environ, "PATH": path}, start_new_session=True, **quiet)
        for command in commands
    ]
    try:
        for port in ports:
            for _ in range(600):
                with socket.socket() as tried:
                    if tried.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            else:
                raise SystemExit(f"nothing listens on port {port}")
        yield
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGTERM)
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def run(kind: str, workers: int, model: Path, records: Path) -> dict[str, float]:
    """Scores the file once on an engine."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.tfxio import tensor_representation_util  # noqa: F401  (imports take their time before the clock starts)

    from tfx_edge.gate import beam_engine, beam_scoring  # noqa: F401
    from tfx_edge.gate.example_files import ExampleFiles
    from tfx_edge.gate.quality import QualityOptions, evaluate_quality

    schema = text_format.Parse(evaluation.SCHEMA, schema_pb2.Schema()).SerializeToString()
    files = ExampleFiles((str(records),), schema, "label")
    beam_engine.Engine.has_workers = property(lambda self: kind != "in memory")  # one process, too
    source: Any = files
    if kind == "in process":
        reader = files.reader([("image",)], [], BATCH)
        source = lambda: ((features, labels) for _, features, labels in reader.batches(str(records)))  # noqa: E731
    options = QualityOptions(metrics=["accuracy"], batch_size=BATCH)
    with tempfile.TemporaryDirectory() as folder, arguments(kind, workers) as pipeline_args:
        begun: list[float] = []
        threading.Thread(target=note_begin, args=(Path(folder), begun), daemon=True).start()
        started = time.perf_counter()
        quality = evaluate_quality(model, None, source, options, pipeline_args=pipeline_args, folder=folder)
        ended = time.perf_counter()
    accuracy = quality.metrics["accuracy"].candidate
    assert accuracy is not None
    return {
        "examples": quality.examples,
        "accuracy": accuracy.value,
        "start": begun[0] - started if begun else 0.0,
        "seconds": ended - started,
    }


def note_begin(folder: Path, begun: list[float]) -> None:
    """Waits for the first sign of life of a worker."""
    while not begun and folder.is_dir():
        if any(folder.glob("*/alive-*")):
            begun.append(time.perf_counter())
        time.sleep(0.02)


def child(options: list[str], result: Path) -> dict[str, float]:
    """Runs this script once, and adds the processor time of all that it started."""
    result.unlink(missing_ok=True)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, env=environment)
    if ended.returncode:
        raise SystemExit(f"{' '.join(options)} failed:\n{ended.stderr[-3000:]}")
    with contextlib.suppress(ChildProcessError):  # of processes that outlived those which started them
        for _ in range(1000):
            os.waitpid(-1, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(result.read_text()), "cpu": spent} if result.is_file() else {}


def table(rounds: list[dict[tuple[str, int], dict[str, float]]]) -> Iterator[str]:
    """The lines of a model's table: medians over rounds, ratios within a round."""
    yield "| Engine | Workers | Start, s | Examples/s after it | By rate | Examples/s in all | By time | Processor, s |"
    yield "|---|---|---|---|---|---|---|---|"

    def rate(found: dict[str, float]) -> float:
        return found["examples"] / (found["seconds"] - found["start"])

    def speed(found: dict[str, float]) -> float:
        return found["examples"] / found["seconds"]

    for engine in rounds[0]:

        def median(figure: Callable[[dict[str, float], dict[str, float]], float], engine: Any = engine) -> float:
            return statistics.median(figure(each[engine], each["in process", 1]) for each in rounds)

        figures = [
            f"{median(lambda own, _: own['start']):.1f}",
            f"{median(lambda own, _: rate(own)):,.0f}",
            f"{median(lambda own, plain: rate(own) / rate(plain)):.2f}",
            f"{median(lambda own, _: speed(own)):,.0f}",
            f"{median(lambda own, plain: speed(own) / speed(plain)):.2f}",
            f"{median(lambda own, _: own['cpu']):.0f}",
        ]
        yield f"| {engine[0]} | {engine[1]} | {' | '.join(figures)} |"


def main() -> int:
    """Prints the tables; fails when an engine scored other examples or found another accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=1_000_000, help="for the small model")
    parser.add_argument("--heavy", type=int, default=100_000, help="examples for the large model")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("build/bench-engines"))
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.workers[0])
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    counts = {"int8": options.examples, "heavy": options.heavy}
    if options.run and options.run[0] == "prepare":
        prepare(work, options.examples, options.heavy)
        return 0
    if options.run:
        kind, workers, model = options.run
        records = work / f"digits-{counts[model]}.tfrecord.gz"
        found = run(kind, int(workers), work / model / "tflite", records)
        (work / "result.json").write_text(json.dumps(found))
        return 0
    ctypes.CDLL(None).prctl(CHILD_SUBREAPER, 1, 0, 0, 0)
    common = [f"--work={work}", f"--examples={options.examples}", f"--heavy={options.heavy}", "--run"]
    child([*common, "prepare", "", ""], work / "result.json")
    missed = False
    for model, count in counts.items():
        rounds = []
        for number in range(options.rounds):
            rounds.append({})
            for kind, workers in engines(options.workers):
                found = child([*common, kind, str(workers), model], work / "result.json")
                rounds[-1][kind, workers] = found
                seconds = f"{found['seconds']:.1f} s, {found['start']:.1f} s of it to start"
                print(f"{model}, round {number + 1}: {kind}, {workers}: {seconds}", file=sys.stderr, flush=True)
        results = [found for each in rounds for found in each.values()]
        missed |= any(found["examples"] != count for found in results)
        missed |= len({found["accuracy"] for found in results}) > 1
        print(f"\n{'0.4' if model == 'int8' else '12'} M multiplications, {count:,} examples:\n", flush=True)
        print("\n".join(table(rounds)), flush=True)
    if missed:
        print("\nan engine scored other examples, or scored them otherwise")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
