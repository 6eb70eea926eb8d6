"""Metrics of classifiers: how often, how evenly and how surely the right class is named."""

from __future__ import annotations

import numpy as np

from tfx_edge.errors import DataError
from tfx_edge.gate.metric_kinds import Columns, Outputs, finite

MIN_CLASS_EXAMPLES = 10
# Probabilities are kept this far from 0 and 1, as Keras does, so that one certain mistake costs 16 and not infinity.
EPSILON = 1e-7


def class_scores(outputs: Outputs) -> np.ndarray:
    """Scores of shape (n, classes) or (n, 1).

    Raises:
      DataError: they have another shape, or are not finite.
    """
    values = outputs.values.reshape(-1, 1) if outputs.values.ndim == 1 else outputs.values
    if values.ndim != 2:
        raise DataError(f"outputs have the shape {values.shape}, but (examples, classes) or (examples, 1) is needed")
    return finite(values)


def class_numbers(outputs: Outputs, classes: int) -> np.ndarray:
    """Class numbers of shape (n,) from numbers or one-hot rows.

    Raises:
      DataError: a label names no class.
    """
    labels, examples = outputs.labels, len(outputs.values)
    if labels.dtype.kind not in "iufb":
        raise DataError(f"labels are of type {labels.dtype}, but class numbers are needed; encode them in Transform")
    if classes > 1 and labels.shape == (examples, classes):
        one_hot = np.isin(labels, (0, 1)).all(axis=1) & (labels.sum(axis=1) == 1)
        if not one_hot.all():
            raise DataError(
                f"{int(np.sum(~one_hot))} of {examples} label rows of shape {labels.shape} are not one-hot; "
                "give class numbers or rows with a single 1"
            )
        return np.argmax(labels, axis=1).astype(np.int32)
    if labels.shape not in ((examples,), (examples, 1)):
        raise DataError(
            f"labels have the shape {labels.shape}, but ({examples},), ({examples}, 1) or one-hot "
            f"({examples}, {classes}) is needed"
        )
    numbers = labels.reshape(examples)
    wrong = ~((numbers >= 0) & (numbers < max(classes, 2)) & (numbers == np.floor(numbers)))
    if wrong.any():
        raise DataError(
            f"{int(wrong.sum())} of {examples} labels name no class, for example {numbers[wrong][0]}; "
            f"labels are whole numbers from 0 to {max(classes, 2) - 1}"
        )
    return numbers.astype(np.int32)


def holds_probabilities(outputs: Outputs) -> bool:
    """Whether scores are probabilities, for a figure that depends on it.

    Raises:
      DataError: that is not known, or they are said to be and cannot be.
    """
    if outputs.probabilities is None:
        raise DataError(
            "cannot tell logits from probabilities by the operators that make the output: say scores='logits' or "
            "'probabilities'"
        )
    values = outputs.values
    if outputs.probabilities and values.size and (values.min() < -EPSILON or values.max() > 1 + 1e-3):
        raise DataError(
            f"the output is said to be probabilities, but goes from {values.min():g} to {values.max():g}; "
            'say scores="logits"'
        )
    return outputs.probabilities


def predicted_classes(scores: np.ndarray, outputs: Outputs) -> np.ndarray:
    """The class of the highest score, of equal ones the first; with one score, 1 where it says at least a half.

    Raises:
      DataError: it is not known what a single score of a half is.
    """
    if scores.shape[1] == 1:
        return (scores[:, 0] >= (0.5 if holds_probabilities(outputs) else 0.0)).astype(np.int32)
    return np.argmax(scores, axis=1).astype(np.int32)


def keep_classes(outputs: Outputs) -> dict[str, np.ndarray]:
    """The label and the predicted class."""
    scores = class_scores(outputs)
    return {"class": class_numbers(outputs, scores.shape[1]), "predicted": predicted_classes(scores, outputs)}


def correct(columns: Columns) -> np.ndarray:
    """Whether the predicted class is the label, shape (n,)."""
    return columns["class"] == columns["predicted"]


def accuracy(columns: Columns) -> float:
    """The share of examples whose predicted class is the label."""
    return float(np.mean(correct(columns)))


def macro_f1(columns: Columns) -> float:
    """The mean of the F1 scores of all classes that occur."""
    from sklearn.metrics import f1_score

    count_classes(columns, least=1)
    return float(f1_score(columns["class"], columns["predicted"], average="macro", zero_division=0))


def macro_recall(columns: Columns) -> float:
    """The mean of the shares of each class that is named right: balanced accuracy."""
    from sklearn.metrics import recall_score

    count_classes(columns, least=MIN_CLASS_EXAMPLES)
    return float(
        recall_score(columns["class"], columns["predicted"], labels=np.unique(columns["class"]), average="macro")
    )


def count_classes(columns: Columns, least: int) -> np.ndarray:
    """The number of examples of each class that occurs.

    Raises:
      DataError: there are fewer than two classes, or too few examples of one.
    """
    found, counts = np.unique(columns["class"], return_counts=True)
    if len(found) < 2:
        raise DataError(f"the examples are all of class {', '.join(map(str, found))}; it takes at least two classes")
    if counts.min() < least:
        raise DataError(
            f"there are only {counts.min()} examples of class {found[counts.argmin()]}; it takes at least {least}"
        )
    return counts


def f1_influences(columns: Columns) -> np.ndarray:
    """Of each class, F = 2 T / (A + P): the influence on it of one example is (2 t - F (a + p)) / (A + P)."""
    truth, predicted = columns["class"], columns["predicted"]
    size = int(max(truth.max(), predicted.max())) + 1
    actual, guessed = (np.bincount(classes, minlength=size) / len(truth) for classes in (truth, predicted))
    hits = np.bincount(truth[truth == predicted], minlength=size) / len(truth)
    total = actual + guessed
    present = total > 0
    share = np.divide(1.0, total, out=np.zeros(size), where=present)
    f1 = 2 * hits * share
    influences = 2 * share[truth] * (truth == predicted) - (f1 * share)[truth] - (f1 * share)[predicted]
    return influences / int(present.sum())


def f1_reach(columns: Columns) -> float:
    """The most that one example could move it: an error in the rarest class."""
    return 2 * recall_reach(columns)


def recall_influences(columns: Columns) -> np.ndarray:
    """An example counts within its class."""
    truth, hits = columns["class"], correct(columns)
    counts = np.bincount(truth)
    recall = np.bincount(truth, weights=hits) / np.maximum(counts, 1)
    return (hits - recall[truth]) * len(truth) / counts[truth] / int(np.sum(counts > 0))


def recall_reach(columns: Columns) -> float:
    """The most that one example could move it: an error in the rarest class."""
    counts = np.unique(columns["class"], return_counts=True)[1]
    return len(columns["class"]) / (counts.min() * len(counts))


def keep_log_loss(outputs: Outputs) -> dict[str, np.ndarray]:
    """The label, and minus the logarithm of the probability that was given to it."""
    from scipy import special

    scores = class_scores(outputs).astype(np.float64)
    classes = class_numbers(outputs, scores.shape[1])
    probabilities = holds_probabilities(outputs)
    if scores.shape[1] == 1:
        probability = scores[:, 0] if probabilities else special.expit(scores[:, 0])
        scores = np.stack([1 - probability, probability], axis=1)
    elif not probabilities:
        scores = special.softmax(scores, axis=1)
    scores = np.clip(scores, EPSILON, 1)
    scores /= scores.sum(axis=1, keepdims=True)
    given = np.clip(scores[np.arange(len(scores)), classes], EPSILON, 1 - EPSILON)
    return {"class": classes, "log_loss": -np.log(given)}
