from __future__ import annotations

import re
from dataclasses import make_dataclass
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_models_schema import Everything, answers, bounded, form

from daskagents.errors import UsageError
from daskagents.models import schema
from daskagents.models.grammar import grammar
from daskagents.models.kinds import kind_of

TOKEN = re.compile(
    r"""(?P<literal>"(?:[^"\\]|\\.)*") | (?P<set>\[(?:[^\]\\]|\\.)*\]) | (?P<repeat>\{\d+,?\d*\})
    | (?P<rule>rule\d+) | (?P<mark>[()|?]) | (?P<blank>\s+)""",
    re.VERBOSE,
)


def as_pattern(text: str) -> str:
    """Return a grammar as a regular expression, which it is: no rule comes back to itself."""
    rules = dict(line.split(" ::= ", 1) for line in text.splitlines())

    def expand(body: str) -> str:
        done, parts = 0, []
        for token in TOKEN.finditer(body):
            assert token.start() == done, body[done:]
            done = token.end()
            parts.append(piece(token))
        assert done == len(body), body[done:]
        return f"(?:{''.join(parts)})"

    def piece(token: re.Match[str]) -> str:
        found = token.group()
        match token.lastgroup:
            case "literal":
                return "(?:" + re.escape(re.sub(r"\\(.)", r"\1", found[1:-1])) + ")"
            case "rule":
                return expand(rules[found])
            case "blank":
                return ""
        return "(?:" if found == "(" else found

    return expand(rules["root"])


def matches(cls: Any, text: str) -> bool:
    return re.fullmatch(as_pattern(grammar(cls)), text) is not None


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)
@given(answers, st.data())
def test_whatever_it_allows_is_read(cls: Any, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(as_pattern(grammar(cls)), fullmatch=True))
    assume(text.isprintable())  # lone surrogates and the like are no text
    drawn = schema.read(text, cls)
    assert isinstance(drawn, cls) if cls is kind_of(cls).node.cls else '{"answer":' in text


@given(st.integers(-1500, 1500), st.integers(0, 1500), st.integers(-3200, 3200))
def test_integers_are_exactly_those_within_the_bounds(low: int, span: int, value: int) -> None:
    cls = form(bounded(int, low, low + span, (False, False)))
    for near in (value, low - 1, low, low + span, low + span + 1):
        assert matches(cls, f'{{"part":{near}}}') == (low <= near <= low + span)


@given(
    st.integers(-300, 300),
    st.integers(2, 300),
    st.tuples(st.booleans(), st.booleans()),
    st.integers(-700, 700),
)
def test_decimals_are_within_the_bounds(
    low: int, span: int, strict: tuple[bool, bool], value: int
) -> None:
    cls = form(bounded(float, low, low + span, strict))
    for near in (value / 10, -0.5, 0.5, low, low - 0.1, low + 0.1, low + span, low + span + 0.1):
        text = f'{{"part":{near:g}}}'
        above = near > low if strict[0] else near >= low
        below = near < low + span if strict[1] else near <= low + span
        # Between whole numbers that lie within, one decimal is always allowed.
        assert matches(cls, text) == (above and below)


def test_everything_has_no_blanks_and_is_bounded() -> None:
    text = grammar(Everything)
    assert "*" not in text
    assert "+" not in text
    assert " " not in re.sub(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]', "", text).replace(" ", "")
    cls = form(str)
    assert matches(cls, '{"part":"' + "é" * 200 + '"}')
    assert not matches(cls, '{"part":"' + "é" * 201 + '"}')
    assert not matches(cls, '{"part":"\n"}')
    assert not matches(form(int), '{"part": 3}')
    assert not matches(form(int), '{"part":1000000}')


def test_lengths() -> None:
    three = form(Annotated[str, msgspec.Meta(max_length=3)])
    assert matches(three, '{"part":"abc"}')
    assert not matches(three, '{"part":"abcd"}')
    none = form(Annotated[tuple[int, ...], msgspec.Meta(max_length=0)])
    assert matches(none, '{"part":[]}')
    some = form(tuple[int, ...])
    assert matches(some, '{"part":[]}')
    assert matches(some, '{"part":[1,2,3,4,5,6,7,8]}')
    assert not matches(some, '{"part":[1,2,3,4,5,6,7,8,9]}')


def test_a_class_without_fields() -> None:
    assert matches(make_dataclass("Empty", [], frozen=True), "{}")


def test_no_schema() -> None:
    with pytest.raises(UsageError, match="frozen dataclass"):
        grammar(dict)
