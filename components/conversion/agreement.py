"""Whether a ``.tflite`` computes what the model it was made of computes, found by running both.

What difference is normal, and what is refused, is in `tfx_edge.conversion.judgement`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfx_edge.conversion import calls
from tfx_edge.conversion.judgement import Agreement, Kind, judge
from tfx_edge.errors import ModelError
from tfx_edge.lite import flatbuffer
from tfx_edge.lite.inspect import inspect

if TYPE_CHECKING:
    import tensorflow as tf

    from tfx_edge.conversion.source import EntryPoint, Source, Written

Batch = dict[str, np.ndarray]
Function = Callable[[Batch], Batch]

_EXAMPLES = 16
_CALLS = 8


def compare(
    path: Path, model: Function, batches: Sequence[Batch], *, kind: Kind, signature: str | None = None
) -> Agreement:
    """Runs both and compares every output; what is no finite number in both is passed on.

    Args:
      path: the ``.tflite``.
      model: the model it was made of: inputs by name to outputs by name, for any number of examples.
      batches: inputs for both, first dimension the examples.
      kind: ``float``; or ``quantization_aware`` or ``post_training``, where steps of the quantized outputs count.
        Outputs that are integers in the model itself (an index of a class) are not compared then; else they must be
        equal.
      signature: the signature to run; None takes the main one.

    Raises:
      ModelError: the file does not run, or the difference is beyond what is normal.
      DeviceError: the interpreter crashed.
    """
    lacking = _lacking_kernels(path)
    if lacking:
        return Agreement(not_compared=lacking)
    name = signature or flatbuffer.parse(path.read_bytes()).signatures[0].name
    expected = _joined(_outputs(model, batch) for batch in batches)
    found = _joined(calls.run(path, [calls.Call(name, batch) for batch in batches]))
    examples = sum(len(next(iter(batch.values()))) for batch in batches)
    return judge(path, name, expected, found, kind, examples)


def compare_source(
    path: Path, source: Source, written: Written, batches: Sequence[Batch], *, batch_size: int | None, kind: Kind
) -> dict[str, Agreement]:
    """Compares every signature with the entry point that it was made of.

    The main signature must give one output row for each example. Others, and all of a model that keeps a state, are
    called with whole batches in a row, from the first state on.

    Args:
      path: the ``.tflite``.
      source: what it was made of.
      written: what the converter read.
      batches: examples to compare the main signature on; random inputs take their place when there are none.
      batch_size: that the file was made for.
      kind: as in `compare`.

    Raises:
      ModelError: the file does not run, or the difference is beyond what is normal.
      DeviceError: the interpreter crashed.
    """
    lacking = _lacking_kernels(path)
    if lacking:
        return {entry.name: Agreement(not_compared=lacking) for entry in source.entry_points}
    agreements = {}
    in_a_row = list(source.entry_points)
    if not written.state:
        main = in_a_row.pop(0)
        agreements[main.name] = _unless_it_fails(
            lambda: compare(path, main.run, list(batches) or random_batches(main.specs, main.run), kind=kind)
        )
    for entry in in_a_row:
        agreements[entry.name] = _unless_it_fails(
            functools.partial(_compare_calls, path, entry, written, batch_size, kind)
        )
    return agreements


def random_batches(specs: Mapping[str, tf.TensorSpec], model: Function) -> list[Batch]:
    """Seeded inputs: normal floats, then their magnitudes; integers, which may stand for words, are 0 or 1, strings
    empty.

    Examples that the model has no finite outputs for (the logarithm of a negative number) are left out, unless there is
    no other.

    Args:
      specs: shape and type by input name; an open dimension becomes 8.
      model: inputs by name to outputs by name.
    """
    generator = np.random.default_rng(0)
    batches = [_noise(specs, _EXAMPLES, generator, negative=negative) for negative in (True, False)]
    return [kept for kept in (_finite_examples(batch, model) for batch in batches) if kept] or batches


def _noise(
    specs: Mapping[str, tf.TensorSpec], examples: int, generator: np.random.Generator, *, negative: bool
) -> Batch:
    def noise(spec: tf.TensorSpec) -> np.ndarray:
        shape = [examples, *(size or 8 for size in spec.shape[1:])]
        if spec.dtype.name == "string":
            return np.full(shape, b"", object)
        values = generator.normal(size=shape) if spec.dtype.is_floating else generator.integers(0, 2, shape)
        return (values if negative else np.abs(values)).astype(spec.dtype.as_numpy_dtype)

    return {name: noise(spec) for name, spec in specs.items()}


def _compare_calls(path: Path, entry: EntryPoint, written: Written, batch_size: int | None, kind: Kind) -> Agreement:
    generator = np.random.default_rng(0)
    examples = batch_size or 1
    inputs = [_noise(entry.specs, examples, generator, negative=number % 2 == 0) for number in range(_CALLS)]
    if written.state:
        written.state.reset()
    expected = _stacked([entry.invoke(batch) for batch in inputs])
    if written.state:
        written.state.reset()
    found = _stacked(calls.run(path, [calls.Call(entry.name, batch) for batch in inputs], keep_state=True))
    return judge(path, entry.name, expected, found, kind, _CALLS * examples)


def _unless_it_fails(comparison: Callable[[], Agreement]) -> Agreement:
    import tensorflow as tf

    try:
        return comparison()
    except tf.errors.OpError as error:
        return Agreement(not_compared=f"the model does not run on random inputs: {str(error).splitlines()[0]}")


def _lacking_kernels(path: Path) -> str | None:
    model = inspect(path)
    operators = ", ".join(map(str, (*model.flex_ops, *model.custom_ops)))
    return f"the interpreter here lacks kernels for {operators}" if operators else None


def _finite_examples(batch: Batch, model: Function) -> Batch | None:
    finite = np.ones(_EXAMPLES, bool)
    for values in _outputs(model, batch).values():
        finite &= np.isfinite(values.reshape(_EXAMPLES, -1)).all(axis=1)
    return {name: values[finite] for name, values in batch.items()} if finite.any() else None


def _outputs(model: Function, batch: Batch) -> Batch:
    examples = len(next(iter(batch.values())))
    outputs = model(batch)
    for name, values in outputs.items():
        if values.shape[:1] != (examples,):
            raise ModelError(
                f"output {name!r} of the model has shape {values.shape} for {examples} examples: let it give one row "
                "for each example"
            )
    return outputs


def _joined(batches: Iterator[Batch] | Sequence[Batch]) -> Batch:
    parts = list(batches)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _stacked(batches: Sequence[Batch]) -> Batch:
    return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
