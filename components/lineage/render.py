"""Shows a lineage as plain text for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from tfx_edge.lineage.record import ExamplesSource, Lineage, Step, Verdict


def to_json(lineage: Lineage) -> str:
    """Every field of the lineage, by the names of its dataclasses."""
    return json.dumps(asdict(lineage), indent=2)


def to_text(lineage: Lineage) -> str:
    """The chain from the file down to the examples, one block each, newest first, without colours."""
    lines = list(_lines(lineage))
    return "\n".join(map(_printable, lines))


def _lines(lineage: Lineage) -> Iterator[str]:
    yield f"file {lineage.file}" if lineage.file else "model"
    yield f"  sha256       {lineage.sha256}"
    yield f"  artifact     {lineage.model.id}  {lineage.model.uri}"
    for push in lineage.pushed:
        yield f"  pushed       {push.destination}"
        yield f"               by {_who(push.execution)}, {_when(push.execution)}"
    if not lineage.pushed:
        yield "  pushed       never"
    for verdict in lineage.verdicts:
        yield from _verdict(verdict)
    if not lineage.verdicts:
        yield from ("", "verdict: none, no EdgeEvaluator judged this model")
    for step in lineage.steps:
        yield from _step(step)
    for examples in lineage.examples:
        yield from _examples(examples)


def _verdict(verdict: Verdict) -> Iterator[str]:
    yield ""
    yield f"verdict: {'blessed' if verdict.blessed else 'NOT blessed'} by {_who(verdict.execution)}"
    yield f"  when         {_when(verdict.execution)}"
    if verdict.reason:
        yield f"  reason       {verdict.reason}"
    width = max(map(len, verdict.figures), default=0)
    for name, value in verdict.figures.items():
        yield f"  {name:<{width}}  {_number(value)}"


def _step(step: Step) -> Iterator[str]:
    yield ""
    yield f"{_who(step)}"
    yield f"  when         {_when(step)}"
    yield f"  type         {step.type}"
    if step.recipe is not None:
        yield f"  recipe       {json.dumps(step.recipe, sort_keys=True)}"
    for name, artifacts in (("made", step.outputs), ("from", step.inputs)):
        for artifact in artifacts:
            yield f"  {name:<12} {artifact.type} {artifact.id}  {artifact.uri}"
            if artifact.sha256:
                yield f"               sha256 {artifact.sha256}"


def _examples(examples: ExamplesSource) -> Iterator[str]:
    yield ""
    yield f"examples {examples.uri}"
    yield f"  span         {_known(examples.span)}"
    yield f"  version      {_known(examples.version)}"
    yield f"  splits       {_listed(examples.split_names)}"
    yield f"  fingerprint  {_known(examples.input_fingerprint)}"


def _who(step: Step) -> str:
    return f"{step.component} (execution {step.execution_id})"


def _when(step: Step) -> str:
    return f"{step.started} to {step.finished or f'? ({step.state})'}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() and abs(value) >= 10 else f"{value:.6g}"


def _known(value: object) -> str:
    return "not recorded" if value is None else str(value)


def _listed(items: Iterable[str]) -> str:
    return ", ".join(items) or "none"


def _printable(text: str) -> str:
    """Names come from the store: control characters could break lines or steer the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
