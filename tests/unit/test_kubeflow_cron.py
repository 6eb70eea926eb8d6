"""Cron lines as people write them, and as Kubeflow's scheduler reads them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.errors import ConfigError
from tfx_edge.kubeflow.cron import to_kubeflow

RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 3 * * *", "0 0 3 * * *"),
        ("  */15\t*  * * 1-5 ", "0 */15 * * * 1-5"),
        ("0 0 1,15 JAN-jun ?", "0 0 0 1,15 JAN-jun ?"),
        ("30 4 * * SUN", "0 30 4 * * SUN"),
        ("30 4 * * 7", "0 30 4 * * 0"),
        ("30 4 * * 5-7", "0 30 4 * * 0,5,6"),
        ("5/10 * * * *", "0 5/10 * * * *"),
        ("0 0 3 * * 1-5", "0 0 3 * * 1-5"),
        ("*/30 * * * * ?", "*/30 * * * * ?"),
        ("@daily", "@daily"),
        ("@every 1h30m", "@every 1h30m"),
    ],
)
def test_five_fields_get_a_second_and_six_stay(line: str, expected: str) -> None:
    assert to_kubeflow(line) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "has 0 fields"),
        ("every night", "has 2 fields"),
        ("0 3 * * * * *", "has 7 fields"),
        ("60 3 * * *", "whose minute is '60': 60 is out of range"),
        ("0 24 * * *", "whose hour is '24'"),
        ("0 3 0 * *", "whose day of month is '0'"),
        ("0 3 * 13 *", "whose month is '13'"),
        ("0 3 * * 8", "whose day of week is '8'"),
        ("0 0 3 * * 7", "whose day of week is '7'"),
        ("0 3 * * MOO", "'MOO' is no number"),
        ("0 3 L * *", "'L' is no number"),
        ("0 3-1 * * *", "3-1 runs backwards"),
        ("*/0 * * * *", "the step '0'"),
        ("*/ * * * *", "the step ''"),
        ("1,,2 * * * *", "'' is no number"),
        ("-1 * * * *", "'' is no number"),
        ("٣ * * * *", "is no number"),
        ("@noon", "has 1 fields"),
    ],
)
def test_a_line_that_is_no_cron_line_is_told(line: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        to_kubeflow(line)
    assert words in str(caught.value)
    assert f"--cron is {line!r}" in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(st.tuples(*(st.integers(low, high) for low, high in RANGES)), st.integers(1, 9))
def test_any_five_fields_in_range_pass_unchanged(numbers: tuple[int, ...], step: int) -> None:
    line = " ".join(f"{number}/{step}" for number in numbers)
    assert to_kubeflow(line) == f"0 {line}"


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="0123456789*/,-? LW#@A", max_size=24))
def test_any_text_is_a_cron_line_of_six_fields_or_an_error_of_ours(text: str) -> None:
    try:
        line = to_kubeflow(text)
    except ConfigError:
        return
    assert len(line.split()) == 6
    assert to_kubeflow(line) == line
