"""Audits the examples that a model is calibrated on, and says what makes them misleading.

What is looked for is in `tfx_edge.examples.audit_checks`, and in docs/calibration.md for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tfx_edge.examples.audit_checks import CHECKS
from tfx_edge.examples.audit_facts import Facts, Finding
from tfx_edge.examples.sampling import Batch, Sample
from tfx_edge.quantization.calibration import Calibrated

EVAL_EXAMPLES = 2_000
"""Of the eval split, what is read."""


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
      findings: warnings first.
      figures: what was counted, by name, whether it led to a finding or not; what could not be counted is missing.
    """

    findings: tuple[Finding, ...]
    figures: Mapping[str, int | float]

    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can carry."""
        return {"figures": dict(self.figures), "findings": [vars(finding) for finding in self.findings]}

    def lines(self) -> list[str]:
        """For a log: a summary, and a line for each finding."""
        figures = self.figures
        head = (
            f"calibrated on {figures['examples']} examples, held against {figures['eval_examples']} of the eval split"
        )
        return [head, *(f"{finding.severity}: {finding.text}" for finding in self.findings)]

    def properties(self) -> dict[str, int | float]:
        """Custom properties for the artifact: the figures, and the number of warnings."""
        warnings = sum(finding.severity == "warning" for finding in self.findings)
        return {f"calibration_{name}": value for name, value in {**self.figures, "warnings": warnings}.items()}


def audit(
    sample: Sample, calibrated: Calibrated, evaluation: Iterable[Batch] = (), limit: int = EVAL_EXAMPLES
) -> Audit:
    """Audits the examples that a model was calibrated on.

    Args:
      sample: those examples.
      calibrated: what calibration on them found.
      evaluation: the eval split as batches of features and labels; it is read once, up to ``limit`` examples.
      limit: of the eval split, how many examples to read.
    """
    facts = Facts(sample, calibrated, evaluation, limit)
    findings = [finding for check in CHECKS for finding in check(facts)]
    findings.sort(key=lambda finding: finding.severity != "warning")
    return Audit(tuple(findings), facts.figures)
