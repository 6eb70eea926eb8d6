"""Metrics of scores that rank examples: of binary classifiers and of anomaly detectors."""

from __future__ import annotations

import numpy as np

from tfx_edge.errors import DataError
from tfx_edge.gate.class_metrics import MIN_CLASS_EXAMPLES, class_numbers, class_scores
from tfx_edge.gate.metric_kinds import Columns, Outputs, finite


def keep_ranks(outputs: Outputs) -> dict[str, np.ndarray]:
    """Whether the label is 1, and the score for that; logits and probabilities rank alike."""
    scores = class_scores(outputs)
    if scores.shape[1] > 2:
        raise DataError(
            f"the output has {scores.shape[1]} scores an example, but AUC and average precision take one, or two of "
            "which the second is that of the positive class"
        )
    score = scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]
    return {"positive": class_numbers(outputs, scores.shape[1]) == 1, "score": score}


def keep_anomaly(outputs: Outputs) -> dict[str, np.ndarray]:
    """A single score as it is; a reconstruction of the only input is scored by its squared error."""
    values = finite(outputs.values)
    examples = len(values)
    if values.size == examples:
        score = values.reshape(examples)
    else:
        inputs = list(outputs.inputs.values())
        if len(inputs) != 1 or inputs[0].shape != values.shape:
            shapes = {name: array.shape for name, array in outputs.inputs.items()}
            raise DataError(
                f"an anomaly score is one number an example, or a reconstruction of the only input, but the output "
                f"has the shape {values.shape} and the inputs {shapes}"
            )
        errors = (values.astype(np.float64) - inputs[0]) ** 2
        score = errors.reshape(examples, -1).mean(axis=1)
    return {"positive": class_numbers(outputs, 1) == 1, "score": score}


def _both_classes(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    positive, score = columns["positive"].astype(bool), columns["score"].astype(np.float64)
    found = int(positive.sum())
    if min(found, len(positive) - found) < MIN_CLASS_EXAMPLES:
        raise DataError(
            f"{found} of {len(positive)} examples are positive; it takes at least {MIN_CLASS_EXAMPLES} of each class"
        )
    return positive, score


def auc(columns: Columns) -> float:
    """The area under the ROC curve."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_both_classes(columns)))


def auc_influences(columns: Columns) -> np.ndarray:
    """The placements of DeLong, DeLong and Clarke-Pearson (1988), by midranks as Sun and Xu (2014) compute them."""
    from scipy.stats import rankdata

    positive, score = _both_classes(columns)
    ranks = rankdata(score)
    examples, found = len(score), int(positive.sum())
    placements = np.empty(examples)
    placements[positive] = (ranks[positive] - rankdata(score[positive])) / (examples - found)
    placements[~positive] = 1 - (ranks[~positive] - rankdata(score[~positive])) / found
    auc = placements[positive].mean()
    return (placements - auc) * np.where(positive, examples / found, examples / (examples - found))


def rarity(columns: Columns) -> float:
    """The most that one example could move it: one of the rarer class on the wrong side of all others."""
    found = int(columns["positive"].sum())
    return len(columns["positive"]) / min(found, len(columns["positive"]) - found)


def average_precision(columns: Columns) -> float:
    """The area under the precision-recall curve, without interpolation."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_both_classes(columns)))
