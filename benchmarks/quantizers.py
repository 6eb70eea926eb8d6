"""TensorFlow's converter beside litert-quantizer, on the same trained models and the same calibration examples.

    python benchmarks/quantizers.py [--models dense lstm …] [--presets int8 …] [--work build/bench-quantizers]

The models are small and trained on scikit-learn's digits: as pixels, as 8 rows in time, or as 64 tokens. A cell says
the bytes as a share of the float file, the largest difference of a probability over the test images, the accuracy, the
seconds (imports excluded), and what was left in float; or why there is no file. Every backend runs in a process of its
own, because TensorFlow's converter crashes on some models.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

MODELS = ("dense", "cnn", "separable", "residual", "lstm", "gru", "gru_unrolled", "embedding", "attention")
PRESETS = ("float16", "dynamic_int8", "int8", "int16x8", "int4_weights", "int4_blockwise")
BACKENDS = ("converter", "litert-quantizer")
EPOCHS = 12
CALIBRATION = 100
TIMEOUT_S = 120


def main(argv: Sequence[str] | None = None) -> int:
    """Prints one table for all models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--presets", nargs="+", default=PRESETS, choices=PRESETS)
    parser.add_argument("--work", type=Path, default=Path("build/bench-quantizers"))
    parser.add_argument("--child", nargs=2, metavar=("MODEL", "BACKEND"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        name, backend = options.child
        run_child(options.work / name, backend, options.presets)
        return 0
    train([name for name in options.models if not (options.work / name / "float.tflite").is_file()], options.work)
    results = {
        (name, backend): measured(name, backend, options.presets, options.work)
        for name in options.models
        for backend in BACKENDS
    }
    print(table(results, options.presets, options.work))
    return 0


def train(names: Sequence[str], work: Path) -> None:
    """Trains the models and writes each as SavedModel and float ``.tflite``, of batch 1, beside the examples."""
    if not names:
        return
    import numpy as np
    import tensorflow as tf
    import tf_keras as keras
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = (digits.images / 16).astype(np.float32), digits.target
    for name in names:
        keras.utils.set_random_seed(7)
        model = _build(name, keras)
        ids = name == "embedding"
        shape = model.input_shape[1:]
        inputs = digits.data.astype(np.int32) if ids else images.reshape(-1, *shape)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(inputs[:1437], labels[:1437], epochs=EPOCHS, batch_size=32, verbose=0)
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "examples.npz", train=inputs[:CALIBRATION], test=inputs[1437:], labels=labels[1437:])
        _save(model, tf.TensorSpec((1, *shape), tf.int32 if ids else tf.float32, name="x"), folder)


def _save(model: Any, specification: Any, folder: Path) -> None:
    import tensorflow as tf

    @tf.function(autograph=False, input_signature=[specification])
    def serve(x: Any) -> dict[str, Any]:
        return {"probability": model(x, training=False)}

    module = tf.Module()
    module.kept, module.serve = model.variables, serve
    tf.saved_model.save(module, str(folder / "saved"), {"serving_default": serve})
    (folder / "float.tflite").write_bytes(_converter(folder).convert())


def _build(name: str, keras: Any) -> Any:
    layers = keras.layers
    shapes = {"dense": (64,), "embedding": (64,), "cnn": (8, 8, 1), "separable": (8, 8, 1), "residual": (8, 8, 1)}
    inputs = keras.Input(shapes.get(name, (8, 8)), dtype="int32" if name == "embedding" else "float32")
    hidden = _BODIES[name](layers, inputs)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(hidden))


def _dense(layers: Any, x: Any) -> Any:
    return layers.Dense(64, activation="relu")(layers.Dense(128, activation="relu")(x))


def _cnn(layers: Any, x: Any) -> Any:
    x = layers.Conv2D(32, 3, activation="relu")(layers.Conv2D(16, 3, activation="relu")(x))
    return layers.Dense(64, activation="relu")(layers.Flatten()(layers.MaxPooling2D()(x)))


def _separable(layers: Any, x: Any) -> Any:
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(32, 3, use_bias=False, padding="same")(x)))
    for _ in range(2):
        x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, use_bias=False)(x)))
        x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(64, 1, use_bias=False)(x)))
    return layers.GlobalAveragePooling2D()(x)


def _residual(layers: Any, x: Any) -> Any:
    x = layers.Conv2D(32, 3, padding="same")(x)
    for _ in range(2):
        y = layers.Conv2D(32, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(x)))
        x = layers.Add()([x, y])
    return layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))


def _lstm(layers: Any, x: Any) -> Any:
    return layers.LSTM(48)(x)


def _gru(layers: Any, x: Any) -> Any:
    return layers.GRU(48)(x)


def _gru_unrolled(layers: Any, x: Any) -> Any:
    return layers.GRU(48, unroll=True)(x)


def _embedding(layers: Any, x: Any) -> Any:
    x = layers.Conv1D(32, 8, 8, activation="relu")(layers.Embedding(500, 32)(x))
    return layers.Dense(64, activation="relu")(layers.Flatten()(x))


def _attention(layers: Any, x: Any) -> Any:
    x = layers.Dense(32)(x)
    x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 16)(x, x)]))
    x = layers.LayerNormalization()(layers.Add()([x, layers.Dense(32)(layers.Dense(64, activation="gelu")(x))]))
    return layers.Flatten()(x)


_BODIES: dict[str, Callable[[Any, Any], Any]] = {
    "dense": _dense,
    "cnn": _cnn,
    "separable": _separable,
    "residual": _residual,
    "lstm": _lstm,
    "gru": _gru,
    "gru_unrolled": _gru_unrolled,
    "embedding": _embedding,
    "attention": _attention,
}


def _converter(folder: Path) -> Any:
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"), signature_keys=["serving_default"])


def measured(name: str, backend: str, presets: Sequence[str], work: Path) -> dict[str, dict[str, Any]]:
    """What a backend makes of a model, by preset; a preset that kills the process is skipped in the next one."""
    found: dict[str, dict[str, Any]] = {}
    while len(found) < len(presets):
        rest = [preset for preset in presets if preset not in found]
        command = [sys.executable, __file__, "--work", str(work), "--child", name, backend, "--presets", *rest]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(command, stdout=said, stderr=subprocess.DEVNULL, env=environment)
            try:
                code = process.wait(TIMEOUT_S)
                cause = f"the process died: {signal.strsignal(-code) if code < 0 else f'exit code {code}'}"
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                cause = f"not done after {TIMEOUT_S} s"
            said.seek(0)
            lines = [json.loads(line) for line in said if line.startswith("{")]
        found |= {line.pop("preset"): line for line in lines}
        if len(lines) < len(rest):
            found[rest[len(lines)]] = {"reason": cause}
    print(f"{name}, {backend}: {json.dumps(found)}", file=sys.stderr, flush=True)
    return found


def run_child(folder: Path, backend: str, presets: Sequence[str]) -> None:
    """Prints one line of JSON for each preset."""
    import numpy as np

    from tfx_edge.errors import EdgeError

    make = _by_converter if backend == "converter" else _by_litert_quantizer
    with np.load(folder / "examples.npz") as stored:
        examples, test, labels = stored["train"], stored["test"], stored["labels"]
    reference = _outputs((folder / "float.tflite").read_bytes(), test)
    _import(backend)
    for preset in presets:
        started = time.perf_counter()
        try:
            content = make(folder, preset, examples)
        except (EdgeError, NotImplementedError) as error:
            result: dict[str, Any] = {"reason": str(error).replace(str(folder / "float.tflite"), "the file")}
        except Exception as error:
            result = {"reason": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
        else:
            seconds = time.perf_counter() - started
            path = folder / f"{backend}-{preset}.tflite"
            path.write_bytes(content)
            result = {"seconds": seconds, **_figures(path, preset, reference, test, labels)}
        print(json.dumps({"preset": preset, **result}), flush=True)


def _import(backend: str) -> None:
    if backend == "converter":
        import tensorflow  # noqa: F401
    else:
        from tfx_edge.quantization import quantize  # noqa: F401  (makes numpy ready for litert_quantizer)

        from litert_quantizer import quantizer  # noqa: F401  # isort: skip


def _figures(path: Path, preset: str, reference: Any, test: Any, labels: Any) -> dict[str, Any]:
    import numpy as np

    from tfx_edge.lite.inspect import inspect

    model = inspect(path)
    outputs = _outputs(path.read_bytes(), test)
    whole = preset in ("int8", "int16x8")
    return {
        "share": model.size_bytes / path.with_name("float.tflite").stat().st_size,
        "difference": float(np.abs(outputs - reference).max()),
        "accuracy": float((outputs.argmax(1) == labels).mean()),
        "float_ops": sum(op.count for op in model.float_ops) if whole else 0,
        "float_weights": sum(weight.elements for weight in model.weights if weight.dtype == "float32"),
    }


def _by_converter(folder: Path, preset: str, examples: Any) -> bytes:
    import tensorflow as tf

    converter = _converter(folder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if preset == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif preset in ("int8", "int16x8"):
        wide = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        narrow = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        converter.target_spec.supported_ops = [wide if preset == "int16x8" else narrow]
        converter.representative_dataset = lambda: ({"x": example[None]} for example in examples)
    elif preset != "dynamic_int8":
        raise NotImplementedError("the converter has no 4-bit weights")
    return bytes(converter.convert())


def _by_litert_quantizer(folder: Path, preset: str, examples: Any) -> bytes:
    from tfx_edge.quantization.quantize import quantize
    from tfx_edge.quantization.recipe import Recipe

    recipe = Recipe(preset={"int8": "int8_float_io"}.get(preset, preset))
    return quantize(folder / "float.tflite", recipe, ({"x": example[None]} for example in examples)).content


def _outputs(content: bytes, inputs: Any) -> Any:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for example in inputs:
        interpreter.reset_all_variables()  # the state of an LSTM
        interpreter.set_tensor(source["index"], example[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(target["index"])[0])
    return np.array(rows)


def table(results: dict[tuple[str, str], dict[str, dict[str, Any]]], presets: Sequence[str], work: Path) -> str:
    """Markdown: a row for each model and backend, and below it each reason once."""
    reasons: dict[str, int] = {}
    lines = [f"| Model | Backend | {' | '.join(presets)} |", f"|---|---|{'---|' * len(presets)}"]
    for (name, backend), row in results.items():
        size = (work / name / "float.tflite").stat().st_size
        cells = [_cell(row[preset], reasons) for preset in presets]
        lines.append(f"| {name} ({size:,} bytes) | {backend} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"[{number}] {reason}" for reason, number in reasons.items())])


def _cell(result: dict[str, Any], reasons: dict[str, int]) -> str:
    if "reason" in result:
        return f"no [{reasons.setdefault(result['reason'], len(reasons) + 1)}]"
    left = f", {result['float_ops']} float ops" if result["float_ops"] else ""
    left += f", {result['float_weights']:,} float weights" if result["float_weights"] else ""
    return (
        f"{result['share']:.2f}, {result['difference']:.3f}, {result['accuracy']:.3f}, {result['seconds']:.2f} s{left}"
    )


if __name__ == "__main__":
    sys.exit(main())
