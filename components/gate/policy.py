"""What the verdicts of several targets come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfx_edge.gate.estimate import Outcome
from tfx_edge.gate.verdict import Verdict


def overall(verdicts: Mapping[str, Verdict], policy: str | Sequence[str]) -> Verdict:
    """The verdict of all targets together, without their checks.

    Args:
      verdicts: by target.
      policy: ``"all"``, ``"any"``, or the targets that must pass.
    """
    names, one_is_enough = _looked_at(verdicts, policy)
    passed = {name: verdicts[name] for name in names if verdicts[name].blessed}
    if passed and (one_is_enough or len(passed) == len(names)):
        return Verdict("pass", _reasons(passed, len(verdicts) > 1))
    others = {name: verdicts[name] for name in names if not verdicts[name].blessed}
    outcome: Outcome = "fail" if any(verdict.outcome == "fail" for verdict in others.values()) else "inconclusive"
    return Verdict(outcome, _reasons(others, len(verdicts) > 1))


def binding(verdicts: Mapping[str, Verdict], policy: str | Sequence[str]) -> dict[str, Any] | None:
    """The check that decided against the candidate, a failure before one that stayed open; None when it is blessed."""
    if overall(verdicts, policy).blessed:
        return None
    names, _ = _looked_at(verdicts, policy)
    found = [(name, check) for name in names if (check := verdicts[name].binding)]
    if not found:
        return None
    target, check = min(found, key=lambda item: item[1].outcome != "fail")
    return {"target": target, "check": check.to_dict()}


def _looked_at(verdicts: Mapping[str, Verdict], policy: str | Sequence[str]) -> tuple[list[str], bool]:
    """The targets that the policy looks at, and whether one is enough."""
    if isinstance(policy, str):
        return list(verdicts), policy == "any"
    return list(policy), False


def _reasons(verdicts: Mapping[str, Verdict], named: bool) -> str:
    """The reasons of targets, those that several share said once."""
    targets: dict[str, list[str]] = {}
    for name, verdict in verdicts.items():
        targets.setdefault(verdict.reason, []).append(name)
    return "; ".join(f"on {' and '.join(names)}: {reason}" if named else reason for reason, names in targets.items())
