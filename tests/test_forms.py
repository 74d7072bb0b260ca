from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from types import MappingProxyType
from typing import Any, TypedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskagents.errors import ReplyError, UsageError
from daskagents.forms import TAKEN, Form, as_numpy, blank, collect, declared_form, form_of

NUMBER = Form((("", "number"),))
TEXT = Form((("", "text"),))
BOTH = Form((("guess", "number"), ("why", "text")))
NOTHING = Form(())


class Said(TypedDict):
    guess: float
    why: str


@dataclass(frozen=True)
class Guess:
    guess: int
    why: str = ""


class Colour(str, Enum):  # noqa: UP042 - a StrEnum's str() is another
    RED = "red"


def numbers(form: Form, replies: list[Any], failed: list[bool] | None = None) -> Any:
    flags = np.array(failed or [False] * len(replies))
    columns, errors = collect(form, replies, flags)
    return {name: as_numpy(column).tolist() for name, column in columns.items()}, errors


# The form of one reply


@pytest.mark.parametrize(
    ("reply", "form"),
    [
        (1.5, NUMBER),
        (3, NUMBER),
        (True, NUMBER),
        (np.float32(1), NUMBER),
        (np.int8(1), NUMBER),
        (np.True_, NUMBER),
        ("", TEXT),
        (np.str_("a"), TEXT),
        (None, NOTHING),
        ({}, NOTHING),
        ({"guess": 1, "why": "x"}, BOTH),
        (MappingProxyType({"guess": 1, "why": "x"}), BOTH),
        (Guess(3), BOTH),
    ],
)
def test_the_form_of_a_reply(reply: Any, form: Form) -> None:
    assert form_of(reply, "Player.reply") == form


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ([1], r"Player\.reply: a reply is a number, .* not list \[1\]"),
        ((1, 2), r"not tuple \(1, 2\)"),
        (b"x", "not bytes"),
        (1j, "not complex"),
        (Fraction(1, 2), "not Fraction"),
        (np.zeros(2), "not ndarray"),
        ({"a": None}, r"Player\.reply\['a'\]: .* not NoneType None"),
        ({"a": {"b": 1}}, r"Player\.reply\['a'\]: .* not dict"),
        ({1: 2}, "the keys of a reply are names, not 1"),
        ({"": 2}, "the keys of a reply are names, not ''"),
        ({"a": "x" * 100, "b": ["x" * 100]}, r"not list \['x{55}\.\.\.$"),
    ],
)
def test_what_is_no_reply_is_refused(reply: Any, says: str) -> None:
    with pytest.raises(ReplyError, match=says):
        form_of(reply, "Player.reply")


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_names_of_the_run_itself_are_refused(name: str) -> None:
    with pytest.raises(ReplyError, match=rf"the name '{name}' is taken by the run itself"):
        form_of({name: 1}, "Player.reply")


def test_forms_say_what_they_are() -> None:
    assert [str(form) for form in (NUMBER, TEXT, NOTHING)] == ["a number", "a text", "nothing"]
    assert str(BOTH) == "{guess: number, why: text}"
    assert (NUMBER.single, BOTH.single, NOTHING.single) == (True, False, False)


# Declared forms


def test_return_annotations_declare_the_form() -> None:
    def number(self: Any, message: Any) -> float: ...
    def whole(self: Any, message: Any) -> "int": ...
    def truth(self: Any, message: Any) -> bool: ...
    def text(self: Any, message: Any) -> str: ...
    def nothing(self: Any, message: Any) -> None: ...
    def typed(self: Any, message: Any) -> Said: ...
    def record(self: Any, message: Any) -> Guess: ...
    async def waits(self: Any, message: Any) -> Said: ...
    def anything(self: Any, message: Any) -> dict[str, float]: ...
    def maybe(self: Any, message: Any) -> float | None: ...
    def silent(self: Any, message: Any): ...
    def unknown(self: Any, message: Any) -> "Missing": ...  # noqa: F821

    for function in (number, whole, truth):
        assert declared_form(function) == NUMBER
    assert declared_form(text) == TEXT
    assert declared_form(nothing) == NOTHING
    for function in (typed, record, waits):
        assert declared_form(function) == BOTH
    for function in (anything, maybe, silent, unknown):
        assert declared_form(function) is None


def test_a_declared_form_of_other_values_is_refused() -> None:
    class Odd(TypedDict):
        names: list[str]

    class Taken(TypedDict):
        calls: int

    def odd(self: Any, message: Any) -> Odd: ...
    def taken(self: Any, message: Any) -> Taken: ...

    odd.__annotations__["return"], taken.__annotations__["return"] = Odd, Taken
    with pytest.raises(UsageError, match=r"return annotation of .*odd: only numbers, bools"):
        declared_form(odd)
    with pytest.raises(ReplyError, match=r"return annotation of .*taken: the name 'calls'"):
        declared_form(taken)


# Replies as columns


def test_numbers_become_float64() -> None:
    replies = [1, 2.5, True, np.float64(3), np.float32(0.5), np.int64(4), np.False_, np.uint8(7)]
    found, errors = numbers(NUMBER, replies)
    assert (found, errors) == ({"": [1.0, 2.5, 1.0, 3.0, 0.5, 4.0, 0.0, 7.0]}, {})


def test_texts_keep_every_character() -> None:
    texts = ["", "a", "é🐢", "x" * 10_000, "\0"]
    assert numbers(TEXT, texts) == ({"": texts}, {})
    assert numbers(TEXT, [np.str_("a"), Colour.RED]) == ({"": ["a", "red"]}, {})


def test_dicts_typed_dicts_and_dataclasses_mix() -> None:
    replies = [
        {"guess": 1, "why": "a"},
        {"why": "b", "guess": 2.5},  # in another order
        Said(guess=3, why="c"),
        Guess(4, "d"),
        MappingProxyType({"guess": np.int8(5), "why": np.str_("e")}),
    ]
    expected = {"guess": [1, 2.5, 3, 4, 5], "why": list("abcde")}
    assert numbers(BOTH, replies) == (expected, {})
    assert numbers(BOTH, replies[:3]) == ({k: v[:3] for k, v in expected.items()}, {})


def test_failed_agents_are_blank_whatever_they_replied() -> None:
    replies = [{"guess": 1, "why": "a"}, None, {"guess": "?"}, {"guess": 2, "why": "b"}]
    found, errors = numbers(BOTH, replies, [False, True, True, False])
    assert errors == {}
    assert found["why"] == ["a", "", "", "b"]
    np.testing.assert_array_equal(found["guess"], [1, np.nan, np.nan, 2])


@pytest.mark.parametrize(
    ("form", "reply", "says"),
    [
        (NUMBER, "x", r"reply is str 'x', and this method replies a number"),
        (NUMBER, None, r"reply is NoneType None, and this method replies a number"),
        (NUMBER, {"a": 1}, "reply is dict"),
        (NUMBER, 10**400, "too large"),
        (TEXT, 3, r"reply is int 3, and this method replies a text"),
        (TEXT, "\ud800", "surrogates not allowed"),
        (
            BOTH,
            {"guess": 1},
            r"replied dict .*, and this method replies \{guess: number, why: text\}",
        ),
        (BOTH, {"guess": 1, "why": "", "more": 1}, "replied dict"),
        (BOTH, {"guess": "1", "why": ""}, r"reply\['guess'\] is str '1'"),
        (BOTH, {"guess": 1, "why": 2}, r"reply\['why'\] is int 2"),
        (BOTH, {"guess": 1, "why": "\ud800"}, r"reply\['why'\]: .*surrogates"),
        (BOTH, None, r"replied NoneType None"),
        (BOTH, 3, r"replied int 3"),
        (NOTHING, 3, r"replied int 3, and this method replies nothing"),
        (NOTHING, {"a": 3}, r"replied dict .*, and this method replies nothing"),
    ],
)
def test_a_reply_of_another_form_fails_that_agent_alone(form: Form, reply: Any, says: str) -> None:
    good = {NUMBER: 7, TEXT: "ok", BOTH: {"guess": 7, "why": "ok"}, NOTHING: None}[form]
    found, errors = numbers(form, [good, reply, good])
    assert list(errors) == [1]
    with pytest.raises(ReplyError, match=says):
        raise errors[1]
    for (name, kind), values in zip(form.kinds, found.values(), strict=True):
        assert name in found
        expected = [7.0, np.nan, 7.0] if kind == "number" else ["ok", "", "ok"]
        np.testing.assert_array_equal(np.array(values, object).tolist(), expected)


def test_replies_of_nothing() -> None:
    assert numbers(NOTHING, [None, None]) == ({}, {})
    assert numbers(NOTHING, [None, {}]) == ({}, {})
    assert numbers(NOTHING, [None, 3], [False, True]) == ({}, {})


def test_all_failed() -> None:
    found, errors = numbers(BOTH, [None, None], [True, True])
    assert (found["why"], errors) == (["", ""], {})
    assert np.isnan(found["guess"]).all()


def test_blanks() -> None:
    assert np.isnan(blank("number", 2)).tolist() == [True, True]
    assert blank("text", 2).tolist() == ["", ""]


good = st.fixed_dictionaries(
    {"guess": st.floats() | st.integers(-(2**70), 2**70) | st.booleans(), "why": st.text()}
)
odd = st.none() | st.integers() | st.fixed_dictionaries({"guess": st.text(), "why": st.text()})


@given(st.lists(st.tuples(good | odd, st.booleans()), min_size=1, max_size=12))
def test_every_reply_is_kept_or_an_error(rows: list[tuple[Any, bool]]) -> None:
    replies, failed = [reply for reply, _ in rows], np.array([gone for _, gone in rows])
    columns, errors = collect(BOTH, replies, failed)
    guess, why = as_numpy(columns["guess"]), as_numpy(columns["why"])
    assert len(guess) == len(why) == len(rows)
    for at, (reply, gone) in enumerate(rows):
        fits = isinstance(reply, dict) and not isinstance(reply["guess"], str)
        assert (at in errors) == (not gone and not fits)
        expected = (float(reply["guess"]), reply["why"]) if fits and not gone else (np.nan, "")
        np.testing.assert_array_equal(guess[at], expected[0])
        assert why[at] == expected[1]
