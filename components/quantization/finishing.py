"""Mends what litert-quantizer writes and the runtime refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfx_edge.lite.rewrite import Rewriter

_LEAST = np.float16(2**-24)


def with_usable_blocks(path: Path) -> bytes:
    """The content of a quantized file in which no block of weights has the scale 0.

    Scales of blocks are float16, and that of a block of zeros, as pruning leaves them, is rounded to 0, which XNNPACK
    refuses. The least float16 above stands for the same weights up to 5e-7.
    """
    rewriter, changed = Rewriter(path), False
    for graph in rewriter.model.subgraphs:
        for tensor in graph.tensors:
            details = tensor.quantization
            if details is None or details.detailsType != schema.QuantizationDetails.BlockwiseQuantization:
                continue
            buffer = rewriter.model.buffers[graph.tensors[details.details.scales].buffer]
            scales = np.frombuffer(bytes(buffer.data), np.float16)
            if not scales.all():
                buffer.data = np.frombuffer(np.where(scales == 0, _LEAST, scales).tobytes(), np.uint8)
                changed = True
    return rewriter.content() if changed else path.read_bytes()
