"""Values from texts."""

from __future__ import annotations

import enum
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskagents.errors import UsageError
from daskagents.options import convert, did_you_mean, hints_of, read


class Mood(enum.Enum):
    GOOD = 1
    BAD = 2


@given(st.floats(allow_nan=False))
def test_floats_are_read_as_they_are_written(value: float) -> None:
    assert convert("x", repr(value), float) == value


@given(st.integers(-1000, 1000), st.integers(1, 1000))
def test_fractions_are_read_as_python_divides(above: int, below: int) -> None:
    assert convert("x", f"{above}/{below}", float) == float(Fraction(above, below)) == above / below


@given(st.text())
def test_a_text_is_taken_as_it_is(text: str) -> None:
    assert convert("x", text, str) == text
    assert isinstance(convert("x", text, Any), str | int | float)


@pytest.mark.parametrize(
    ("text", "wanted", "value"),
    [
        ("5", int, 5),
        ("1_000", int, 1000),
        ("5", float, 5.0),
        ("yes", bool, True),
        ("False", bool, False),
        ("0", bool, False),
        ("none", str | None, None),
        ("None", Optional[int], None),  # noqa: UP045
        ("3", int | None, 3),
        ("2/3", int | float, 2 / 3),
        ("high", float | str, "high"),
        ("P2", Literal["P1", "P2"], "P2"),
        ("2", Literal[1, 2], 2),
        ("GOOD", Mood, Mood.GOOD),
        ("runs/x", Path, Path("runs/x")),
        ("7", Any, 7),
        ("0.5", Any, 0.5),
        ("1/0", Any, "1/0"),
        ("a=b", Any, "a=b"),
    ],
)
def test_what_is_read(text: str, wanted: Any, value: Any) -> None:
    found = convert("x", text, wanted)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "wanted", "said"),
    [
        ("five", int, "rounds=five: give a whole number"),
        ("5.0", int, "rounds=5.0: give a whole number"),
        ("half", float, "rounds=half: give a number"),
        ("1/0", float, "rounds=1/0: give a number"),
        ("maybe", bool, "rounds=maybe: give yes or no"),
        ("P9", Literal["P1", "P2"], "rounds=P9: give one of P1, P2"),
        ("SOSO", Mood, "rounds=SOSO: give one of GOOD, BAD"),
        ("x", int | None, "rounds=x: give a whole number"),
        ("x", dict, "rounds is a dict, which no text can be"),
        ("x", list[int], "which no text can be"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, wanted: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        convert("rounds", text, wanted)


def test_defaults_say_the_type_where_nothing_else_does() -> None:
    def game(players, rounds=3, ratio=0.5, name="", other=None, *, fast: bool = False):  # type: ignore[no-untyped-def]
        yield

    given = {"rounds": "5", "ratio": "1", "name": "7", "other": "7", "fast": "yes", "no": "1"}
    found = read(game, given, skip=["name"])
    assert found == {"rounds": 5, "ratio": 1.0, "other": 7, "fast": True}
    assert isinstance(found["ratio"], float)
    with pytest.raises(UsageError, match="rounds=x"):
        read(game, {"rounds": "x"})


def test_an_annotation_that_cannot_be_read_hides_no_other() -> None:
    def game(a: Nowhere, b: int) -> Nothing: ...  # type: ignore[name-defined]  # noqa: F821

    assert hints_of(game) == {"b": int}


def test_what_was_meant() -> None:
    assert did_you_mean("ruonds", ["players", "rounds"]) == "; did you mean 'rounds'?"
    assert did_you_mean("zzz", ["players", "rounds"]) == ""
