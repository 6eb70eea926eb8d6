"""Names of tasks as Argo takes them, whatever a pipeline's author called a node."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.kubeflow import names

ARGO_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,127}")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="aZ9.-_ ä", max_size=6), min_size=1, max_size=4, unique=True))
def test_a_name_is_one_of_argo_and_unlike_the_others_or_it_is_a_problem(node_ids: list[str]) -> None:
    made = [names.task_name(node_id) for node_id in node_ids]
    fine = len(set(made)) == len(made) and all(ARGO_NAME.fullmatch(f"{name}-blessed-driver") for name in made if name)
    assert (names.problems(node_ids) == []) == (fine and all(made))


def test_a_long_name_leaves_room_for_what_kubeflow_appends() -> None:
    assert names.problems(["a" * 113]) == []
    (problem,) = names.problems(["a" * 114])
    assert "1 to 113" in problem
    assert ARGO_NAME.fullmatch("a" * 113 + "-blessed-driver")


def test_names_that_argo_takes_stay() -> None:
    assert names.task_name("LiteConverter-1") == "LiteConverter-1"
    assert names.task_name("EdgeEvaluator.candidate_2") == "EdgeEvaluator-candidate-2"
