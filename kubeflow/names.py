"""Names of tasks: TFX's node ids may hold dots, Argo's task names may not.

Source: ``isValidWorkflowFieldName`` in argoproj/argo-workflows, ``workflow/validate/validate.go``; KFP's compiler takes
a task's name as it is and appends ``-driver``; a gate's marker appends ``-blessed`` before that.
"""

from __future__ import annotations

import re

_FORBIDDEN = re.compile(r"[^A-Za-z0-9-]")
_LONGEST = 128 - len("-blessed-driver")


def task_name(node_id: str) -> str:
    """The name of a node's task: ``EdgeEvaluator.candidate`` becomes ``EdgeEvaluator-candidate``."""
    return _FORBIDDEN.sub("-", node_id).strip("-")


def problems(node_ids: list[str]) -> list[str]:
    """Ids whose tasks would have the same name, or none that Argo takes."""
    found = []
    by_name: dict[str, list[str]] = {}
    for node_id in node_ids:
        by_name.setdefault(task_name(node_id), []).append(node_id)
    for name, same in by_name.items():
        if len(same) > 1:
            found.append(
                f"{' and '.join(sorted(same))} would both be the task {name!r}; give one another id, by with_id()"
            )
        if not name or len(name) > _LONGEST:
            found.append(
                f"{same[0]} cannot be a task's name: give it an id of 1 to {_LONGEST} letters, digits and '-', "
                "by with_id()"
            )
    return found
