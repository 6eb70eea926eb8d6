"""Renders an inspected ``.tflite`` as plain text for a terminal or a log."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table

from tfx_edge.lite.inspect import LiteModel, TensorInfo
from tfx_edge.lite.layers import Layer
from tfx_edge.lite.weights import WeightTensor

WIDTH = 100


def to_text(model: LiteModel) -> str:
    """The whole inspection as tables of at most 100 columns, without colours. Long names are folded, never cut."""
    return _printed(_tables(model))


def layers_to_text(layers: Iterable[Layer]) -> str:
    """The layers as one table of at most 100 columns, as `to_text` prints."""
    columns = ("operator", "computes in", "weights", "layer")
    rows = [(layer.op, layer.precision, f"{layer.elements:,}" if layer.weights else "", layer.name) for layer in layers]
    return _printed([_table(columns, rows)])


def _printed(tables: Iterable[Table]) -> str:
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, markup=False, highlight=False, emoji=False)
    for table in tables:
        console.print(table)
        console.print()
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in lines).rstrip("\n")


def _tables(model: LiteModel) -> Iterator[Table]:
    yield _table((), _summary(model))
    edges = [*(("in", t) for t in model.inputs), *(("out", t) for t in model.outputs)]
    yield _table(
        ("I/O", "name", "shape", "dtype", "scale", "zero point"),
        [(side, info.name, info.shape_text, info.dtype, *_quantization(info)) for side, info in edges],
    )
    for subgraph in model.subgraphs:
        title = "operators" if len(model.subgraphs) == 1 else f"operators of {subgraph.name or '(unnamed)'}"
        ops = sorted(subgraph.ops, key=lambda op: op.name)
        yield _table(
            (title, "count", "inputs", "outputs", "computes in"),
            [(op.name, str(op.count), " ".join(op.inputs), " ".join(op.outputs), op.kind) for op in ops],
        )
    yield _table(("constants", "bytes"), [(dtype, f"{size:,}") for dtype, size in model.weight_bytes_by_dtype.items()])
    yield _table(
        ("signature", "inputs", "outputs"),
        [(s.name, _names(s.inputs), _names(s.outputs)) for s in model.signatures],
    )


def _summary(model: LiteModel) -> list[tuple[str, str]]:
    return [
        ("file", model.path),
        ("precision", model.precision),
        ("size", f"{model.size_bytes:,} bytes, {model.gzip_bytes:,} after gzip"),
        ("sha256", model.sha256),
        ("weights", f"{_amount(model.quantized_weights)} quantized, {_amount(model.float_weights)} float"),
        ("sparsity", f"{model.sparsity:.1%} of the weights are zero"),
        ("float islands", _listed(model.float_islands)),
        ("Flex ops", _listed(model.flex_ops)),
        ("custom ops", _listed(model.custom_ops)),
        ("metadata", _listed(model.metadata)),
        ("made by", f"{model.description or 'unknown'} (schema {model.schema_version})"),
    ]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=bool(columns))
    for column in columns:
        right = column in {"count", "bytes", "scale", "zero point", "weights"}
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows or [["none", *[""] * (len(columns) - 1)]]:
        table.add_row(*map(printable, row))
    return table


def printable(text: str) -> str:
    """Names come from the file: control characters could break lines or steer the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _quantization(info: TensorInfo) -> tuple[str, str]:
    return ("", "") if info.scale is None else (f"{info.scale:.6g}", str(info.zero_point))


def _amount(weights: Sequence[WeightTensor]) -> str:
    return f"{len(weights)} ({sum(weight.size_bytes for weight in weights):,} bytes)"


def _names(infos: Iterable[TensorInfo]) -> str:
    return ", ".join(f"{info.name} ({info.tensor_name})" for info in infos)


def _listed(items: Iterable[object]) -> str:
    return ", ".join(str(item) for item in items) or "none"
