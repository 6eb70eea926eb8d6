"""Examples per second of the gate's quality evaluation, beside a plain Python loop and TFMA's road for ``tf_lite``.

    python benchmarks/evaluation.py [--examples 400000] [--few 50000] [--rounds 5] [--work build/bench-evaluation]

All run on gzipped TFRecord files of scikit-learn's 1,797 digits, repeated as often as it takes, with an int8 CNN that
was trained on them (and its float original as the baseline, where two models are scored). The loop reads and parses
batches, invokes the same interpreter by the same batch, and counts right answers; it checks and keeps nothing. TFMA
cannot compare two ``tf_lite`` models, so it is given one, and a smaller file, since it takes minutes; ours runs on the
same file for the comparison with it. Each round runs every road in a process of its own, imports excluded; ratios are
within a round. The ratio of processor time leaves out what reading ahead on a second core gains, and what other
processes on the machine cost.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 256
# Each with whether it runs on the smaller file.
ROADS = {
    "ours, few": True,
    "tfma, few": True,
    "ours": False,
    "loop": False,
    "ours, two models": False,
    "loop, two models": False,
}
SCHEMA = """
feature {
  name: "image" type: FLOAT presence { min_fraction: 1 } shape { dim { size: 8 } dim { size: 8 } dim { size: 1 } }
}
feature { name: "label" type: INT presence { min_fraction: 1 } shape { } }
"""


def prepare(work: Path, examples: int) -> None:
    """Writes ``digits-<examples>.tfrecord.gz``, ``float32/tflite`` and ``int8/tflite``; kept when they are there."""
    import numpy as np
    import tensorflow as tf
    import tf_keras
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = (digits.data / 16).astype(np.float32), digits.target
    records = work / f"digits-{examples}.tfrecord.gz"
    if not records.is_file():
        serialized = [
            tf.train.Example(
                features=tf.train.Features(
                    feature={
                        "image": tf.train.Feature(float_list=tf.train.FloatList(value=image)),
                        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                    }
                )
            ).SerializeToString()
            for image, label in zip(images, labels, strict=True)
        ]
        with tf.io.TFRecordWriter(str(work / "part"), "GZIP") as writer:
            for number in range(examples):
                writer.write(serialized[number % len(serialized)])
        (work / "part").replace(records)
    if (work / "int8/tflite").is_file():
        return
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.InputLayer((8, 8, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax", name="scores"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    grid = images.reshape(-1, 8, 8, 1)
    model.fit(grid, labels, epochs=3, batch_size=64, verbose=0)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((1, 8, 8, 1), tf.float32, name="image")])
    def serve(image: Any) -> dict[str, Any]:
        return {"scores": model(image, training=False)}

    module = tf.Module()
    module.kept, module.serve = model.variables, serve
    tf.saved_model.save(module, str(work / "saved"), {"serving_default": serve})
    for name in ("float32", "int8"):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(work / "saved"))
        if name == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([row[None]] for row in grid[:200])
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        (work / name).mkdir(exist_ok=True)
        (work / name / "tflite").write_bytes(converter.convert())


def run_ours(work: Path, records: Path, two: bool) -> Callable[[], tuple[int, float]]:
    """The evaluation of a component, on Beam's local runner."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.tfxio import tensor_representation_util  # noqa: F401  (imports take their time before the clock starts)

    from tfx_edge.gate import beam_scoring  # noqa: F401
    from tfx_edge.gate.example_files import ExampleFiles
    from tfx_edge.gate.quality import QualityOptions, evaluate_quality

    schema = text_format.Parse(SCHEMA, schema_pb2.Schema()).SerializeToString()
    source = ExampleFiles((str(records),), schema, "label")

    def run() -> tuple[int, float]:
        quality = evaluate_quality(
            work / "int8/tflite",
            work / "float32/tflite" if two else None,
            source,
            QualityOptions(metrics=["accuracy"], batch_size=BATCH),
        )
        return quality.examples, quality.metrics["accuracy"].candidate.value

    return run


def run_loop(work: Path, records: Path, two: bool) -> Callable[[], tuple[int, float]]:
    """What one would write by hand: read, parse, quantize, invoke, count."""
    import numpy as np
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    spec = {"image": tf.io.FixedLenFeature((8, 8, 1), tf.float32), "label": tf.io.FixedLenFeature((), tf.int64)}

    def run() -> tuple[int, float]:
        models = []
        for name in ("int8", "float32") if two else ("int8",):
            interpreter = Interpreter(str(work / name / "tflite"), num_threads=1)
            interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (BATCH, 8, 8, 1))
            interpreter.allocate_tensors()
            models.append((interpreter, interpreter.get_input_details()[0], interpreter.get_output_details()[0]))
        right = [0] * len(models)
        examples = 0
        for batch in tf.data.TFRecordDataset([str(records)], "GZIP").batch(BATCH):
            parsed = tf.io.parse_example(batch, spec)
            images, labels = parsed["image"].numpy(), parsed["label"].numpy()
            count = len(labels)
            images = np.concatenate([images, np.zeros((BATCH - count, 8, 8, 1), np.float32)])
            for number, (interpreter, source, sink) in enumerate(models):
                scale, zero = source["quantization"]
                fed = np.clip(np.rint(images / scale) + zero, -128, 127).astype(np.int8) if scale else images
                interpreter.set_tensor(source["index"], fed)
                interpreter.invoke()
                scores = interpreter.get_tensor(sink["index"])[:count]
                right[number] += int(np.sum(np.argmax(scores, axis=1) == labels))
            examples += count
        return examples, right[0] / examples

    return run


def run_tfma(work: Path, records: Path, two: bool) -> Callable[[], tuple[int, float]]:
    """TensorFlow Model Analysis with ``model_type: "tf_lite"``, as TFX's Evaluator runs it."""
    import tensorflow_model_analysis as tfma
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    from tfx_edge.gate.beam_scoring import LOCAL_RUNNER

    if two:
        raise ValueError("TFMA evaluates one tf_lite model")
    schema = text_format.Parse(SCHEMA, schema_pb2.Schema())

    def run() -> tuple[int, float]:
        import apache_beam as beam

        config = text_format.Parse(
            """
            model_specs { model_type: "tf_lite" label_key: "label" }
            slicing_specs {}
            metrics_specs { metrics { class_name: "SparseCategoricalAccuracy" } metrics { class_name: "ExampleCount" } }
            """,
            tfma.EvalConfig(),
        )
        output = work / f"tfma-{time.time_ns()}"
        model = tfma.default_eval_shared_model(eval_saved_model_path=str(work / "int8"), eval_config=config)
        from tfx_bsl.tfxio import tf_example_record

        with beam.Pipeline(argv=[f"--runner={LOCAL_RUNNER}"]) as pipeline:
            source = tf_example_record.TFExampleRecord(
                str(records), schema=schema, raw_record_column_name=tfma.ARROW_INPUT_COLUMN
            )
            _ = (
                pipeline
                | source.BeamSource()
                | tfma.ExtractEvaluateAndWriteResults(
                    eval_config=config,
                    eval_shared_model=model,
                    output_path=str(output),
                    schema=schema,
                    tensor_adapter_config=source.TensorAdapterConfig()
                    if hasattr(source, "TensorAdapterConfig")
                    else None,
                )
            )
        result = tfma.load_eval_result(str(output))
        figures = {}
        for by_output in result.slicing_metrics[0][1].values():
            for by_class in by_output.values():
                figures |= {name: next(iter(value.values())) for name, value in by_class.items()}
        return int(figures["example_count"]), figures["sparse_categorical_accuracy"]

    return run


def road(name: str, work: Path, records: Path) -> dict[str, float]:
    """Runs a road once in this process."""
    kind, _, variant = name.partition(", ")
    run = {"ours": run_ours, "loop": run_loop, "tfma": run_tfma}[kind](work, records, variant == "two models")
    started, worked = time.perf_counter(), time.process_time()
    examples, accuracy = run()
    return {
        "examples": examples,
        "accuracy": accuracy,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - worked,
    }


def main() -> int:
    """Prints the table; fails when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=400_000, help="of the file for the plain loop")
    parser.add_argument("--few", type=int, default=50_000, help="of the file for TFMA")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("build/bench-evaluation"))
    parser.add_argument("--road", choices=[*ROADS, "prepare"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    sizes = {name: options.few if few else options.examples for name, few in ROADS.items()}
    if options.road == "prepare":
        for examples in sorted(set(sizes.values())):
            prepare(work, examples)
        return 0
    if options.road:
        result = road(options.road, work, work / f"digits-{sizes[options.road]}.tfrecord.gz")
        (work / "result.json").write_text(json.dumps(result))
        return 0

    def child(name: str) -> dict[str, float]:
        flags = [f"--work={work}", f"--examples={options.examples}", f"--few={options.few}", f"--road={name}"]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        ended = subprocess.run([sys.executable, __file__, *flags], capture_output=True, text=True, env=environment)
        if ended.returncode:
            raise SystemExit(f"{name} failed:\n{ended.stderr[-3000:]}")
        return {} if name == "prepare" else json.loads((work / "result.json").read_text())

    child("prepare")
    rounds = []
    for number in range(options.rounds):
        rounds.append({name: child(name) for name in ROADS})
        speeds = ", ".join(f"{name} {r['examples'] / r['seconds']:,.0f}/s" for name, r in rounds[-1].items())
        print(f"round {number + 1}: {speeds}", flush=True)
    return report(rounds, sizes)


def report(rounds: list[dict[str, dict[str, float]]], sizes: dict[str, int]) -> int:
    """Prints speeds and ratios; 1 when a bar is missed or a road scored other than all examples."""
    print(f"\n{'road':20}{'examples':>10}{'examples/s: median':>20}{'best':>10}{'accuracy':>10}")
    for name, examples in sizes.items():
        speeds = [results[name]["examples"] / results[name]["seconds"] for results in rounds]
        accuracy = rounds[0][name]["accuracy"]
        print(f"{name:20}{examples:>10,}{statistics.median(speeds):>20,.0f}{max(speeds):>10,.0f}{accuracy:>10.4f}")
    missed = any(results[name]["examples"] != sizes[name] for results in rounds for name in sizes)
    if missed:
        print("a road scored other than all examples")
    print(f"\n{'ratio of speeds':38}{'least':>8}{'median':>8}{'bar':>8}{'by CPU time':>14}")
    bars = (
        ("ours, few", "tfma, few", 10.0),
        ("ours", "loop", 0.8),
        ("ours, two models", "loop, two models", 0.8),
    )
    for fast, slow, bar in bars:
        ratios = [results[slow]["seconds"] / results[fast]["seconds"] for results in rounds]
        missed |= statistics.median(ratios) < bar
        by_cpu = statistics.median(results[slow]["cpu_seconds"] / results[fast]["cpu_seconds"] for results in rounds)
        spread = f"{min(ratios):>8.2f}{statistics.median(ratios):>8.2f}"
        print(f"{fast + ' / ' + slow:38}{spread}{bar:>8.1f}{by_cpu:>14.2f}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
