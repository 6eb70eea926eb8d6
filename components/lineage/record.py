"""What a lineage is: plain frozen records, without any tie to the store they were read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ArtifactRef:
    """An artifact of the store; ``sha256`` is None where it was not recorded."""

    type: str
    uri: str
    id: int
    sha256: str | None


@dataclass(frozen=True)
class Step:
    """An execution that had a part in the model; times are ISO 8601 in UTC, ``recipe`` is the parsed ``config``."""

    component: str
    type: str
    execution_id: int
    state: str
    started: str
    finished: str | None
    recipe: dict[str, Any] | None
    inputs: tuple[ArtifactRef, ...]
    outputs: tuple[ArtifactRef, ...]


@dataclass(frozen=True)
class Verdict:
    """What one EdgeEvaluator found: ``figures`` by metric name, in the units that the names end with."""

    blessed: bool
    reason: str
    figures: dict[str, float]
    execution: Step


@dataclass(frozen=True)
class Push:
    """One push that took place."""

    destination: str
    version: str
    execution: Step


@dataclass(frozen=True)
class ExamplesSource:
    """Examples that no other examples were made into: what the pipeline read from outside."""

    uri: str
    span: int | None
    version: int | None
    split_names: tuple[str, ...]
    input_fingerprint: str | None


@dataclass(frozen=True)
class Lineage:
    """Where a model came from.

    Attributes:
      sha256: of the file.
      file: its path, or None if it was asked for by its SHA-256.
      model: the Model artifact.
      pushed: the pushes of it, newest first.
      verdicts: of every EdgeEvaluator that judged it, newest first; serving as a baseline is not being judged.
      steps: the executions that led to it, newest first.
      examples: the examples they began with.
    """

    sha256: str
    file: str | None
    model: ArtifactRef
    pushed: tuple[Push, ...]
    verdicts: tuple[Verdict, ...]
    steps: tuple[Step, ...]
    examples: tuple[ExamplesSource, ...]
