"""Tells which operator of a ``.tflite`` a node of the running interpreter comes from.

XNNPACK, which takes over the operators that it can, gives its nodes names of its own, fuses some and adds others, and
runs a 1x1 convolution as a fully connected node. The order stays. So the two lists are matched by their longest common
subsequence, where two entries are equal if such an operator may become such a node. Nodes that are left, as where
subgraphs take turns, go to operators that are left.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

PREFIX = "Delegate/"

_RESHAPES = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
# XNNPACK's names are those of xnn_operator_type_to_string; one that is not here differs from TFLite's by case only.
_BECOMES = {
    "AVERAGE_POOLING": {"AVERAGE_POOL_2D"},
    "BATCH_MATRIX_MULTIPLY": {"BATCH_MATMUL"},
    "CLAMP": {"RELU", "RELU6", "RELU_N1_TO_1"},
    "CONCATENATE": {"CONCATENATION"},
    "CONVERT": {"QUANTIZE", "DEQUANTIZE"},
    "CONVOLUTION": {"CONV_2D"},
    "COPY": _RESHAPES,
    "DECONVOLUTION": {"TRANSPOSE_CONV"},
    "DEPTHWISE_CONVOLUTION": {"DEPTHWISE_CONV_2D"},
    "DIVIDE": {"DIV"},
    "FULLY_CONNECTED": {"FULLY_CONNECTED", "CONV_2D"},
    "HARDSWISH": {"HARD_SWISH"},
    "MAX_POOLING": {"MAX_POOL_2D"},
    "MULTIPLY": {"MUL"},
    "RESHAPE": _RESHAPES,
    "SIGMOID": {"LOGISTIC"},
    "SUBTRACT": {"SUB"},
}


def match(operators: Sequence[str], nodes: Sequence[str]) -> dict[int, int]:
    """Matches nodes with operators.

    Args:
      operators: builtin names in the order of the file, such as "CONV_2D".
      nodes: node types in the order of running: a builtin name, or "Delegate/Convolution (NHWC, QC8) IGEMM".

    Returns:
      The index of the operator for the index of each node that comes from one.
    """
    wanted = [_origins(node) for node in nodes]
    equal = np.array([[name in origins for name in operators] for origins in wanted], bool)
    equal = equal.reshape(len(nodes), len(operators))
    longest = np.zeros((len(nodes) + 1, len(operators) + 1), np.int32)
    for row, matches in enumerate(equal):
        best = np.maximum(longest[row, 1:], longest[row, :-1] + matches)
        longest[row + 1, 1:] = np.maximum.accumulate(best)
    pairs: dict[int, int] = {}
    row, column = len(nodes), len(operators)
    while row and column:
        if longest[row, column] == longest[row - 1, column]:
            row -= 1
        elif longest[row, column] == longest[row, column - 1]:
            column -= 1
        else:
            row, column = row - 1, column - 1
            pairs[row] = column
    unmatched = sorted(set(range(len(operators))) - set(pairs.values()))
    for row in range(len(nodes)):
        left = next((index for index in unmatched if equal[row, index]), None)
        if row not in pairs and left is not None:
            pairs[row] = left
            unmatched.remove(left)
    return pairs


def plain_name(node: str) -> str:
    """A node type without the types and kernels that it was specialized for: "XNNPACK Convolution"."""
    return f"XNNPACK {_kind(node)}" if node.startswith(PREFIX) else node


def _origins(node: str) -> set[str]:
    if not node.startswith(PREFIX):
        return {node}
    kind = re.sub(r"^(Static|Constant) ", "", _kind(node)).upper().replace(" ", "_")
    if kind == "CONVOLUTION" and node.endswith("DWConv"):
        kind = "DEPTHWISE_CONVOLUTION"
    return _BECOMES.get(kind, {kind})


def _kind(node: str) -> str:
    return node.removeprefix(PREFIX).partition(" (")[0]
