from __future__ import annotations

import math
from dataclasses import dataclass, make_dataclass
from enum import Enum
from itertools import count
from random import Random
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskagents.errors import AnswerError, UsageError
from daskagents.fake_server.draws import draws
from daskagents.fake_server.fitting import Fitting
from daskagents.models import schema


class Side(Enum):
    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True)
class Guess:
    number: float


@dataclass(frozen=True)
class Everything:
    number: float
    share: Annotated[float, msgspec.Meta(ge=0, lt=1, description="a part of the whole")]
    count: Annotated[int, msgspec.Meta(gt=3, le=9)]
    yes: bool
    text: str
    side: Side
    vote: Literal["up", "down"]
    maybe: int | None
    guesses: tuple[Guess, ...]
    pair: Annotated[tuple[int, ...], msgspec.Meta(min_length=2, max_length=2)]
    nested: Guess = Guess(0.5)


def bounded(kind: Any, low: float, high: float, strict: tuple[bool, bool]) -> Any:
    """Return a number type with bounds."""
    meta = {"gt" if strict[0] else "ge": low, "lt" if strict[1] else "le": high}
    return Annotated[kind, msgspec.Meta(**meta)]


def numbers() -> st.SearchStrategy[Any]:
    """Draw number types, with bounds and without."""
    ends = st.integers(-1200, 1200)
    strict = st.tuples(st.booleans(), st.booleans())
    return st.one_of(
        st.sampled_from([int, float]),
        st.builds(
            lambda low, span, open: bounded(int, low, low + span, open),
            ends,
            st.integers(2, 500),
            strict,
        ),
        st.builds(
            lambda low, span, open: bounded(float, low / 8, (low + span) / 8, open),
            ends,
            st.integers(1, 900),
            strict,
        ),
    )


def types() -> st.SearchStrategy[Any]:
    """Draw types that a field may have."""
    lengths = st.tuples(st.integers(0, 3), st.integers(0, 3))
    leaves = st.one_of(
        numbers(),
        st.sampled_from([bool, str, Side, Literal["a", 'b\\"c'], Literal[1, 2]]),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            inner.filter(lambda kind: type(None) not in getattr(kind, "__args__", ())).map(
                lambda kind: kind | None
            ),
            inner.map(lambda kind: tuple[kind, ...]),
            st.builds(
                lambda kind, least_more: Annotated[
                    tuple[kind, ...],
                    msgspec.Meta(min_length=least_more[0], max_length=sum(least_more)),
                ],
                inner,
                lengths,
            ),
            st.lists(inner, max_size=2).map(dataclass_of),
        ),
        max_leaves=4,
    )


names = count()


def dataclass_of(kinds: list[Any]) -> type[Any]:
    """Return a frozen dataclass with a field of each type."""
    fields = [(f"field{i}", kind) for i, kind in enumerate(kinds)]
    return make_dataclass(f"Form{next(names)}", fields, frozen=True)


schemas = st.lists(types(), max_size=3).map(dataclass_of)


@given(schemas, st.integers(0, 2**32))
def test_a_sample_is_read_back(cls: Any, seed: int) -> None:
    drawn = schema.sample(cls, Random(seed))
    assert schema.read(msgspec.json.encode(drawn).decode(), cls) == drawn


@given(schemas, st.integers(0, 2**32))
def test_what_fits_the_json_schema_is_read(cls: Any, seed: int) -> None:
    value = Fitting(schema.json_schema(cls), draws(b"", b"", seed)).fit()
    assert isinstance(schema.read(msgspec.json.encode(value).decode(), cls), cls)


def test_json_schema_of_everything() -> None:
    found = schema.json_schema(Everything)
    assert found["additionalProperties"] is False
    assert found["required"] == list(found["properties"])
    assert found["properties"] == {
        "number": {"type": "number"},
        "share": {
            "type": "number",
            "minimum": 0,
            "exclusiveMaximum": 1,
            "description": "a part of the whole",
        },
        "count": {"type": "integer", "exclusiveMinimum": 3, "maximum": 9},
        "yes": {"type": "boolean"},
        "text": {"type": "string"},
        "side": {"type": "string", "enum": ["left", "right"]},
        "vote": {"type": "string", "enum": ["down", "up"]},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "guesses": {"type": "array", "items": schema.json_schema(Guess)},
        "pair": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        "nested": schema.json_schema(Guess),
    }


@given(st.integers(0, 2**32))
def test_a_sample_of_numbers_without_bounds_is_from_0_to_100(seed: int) -> None:
    drawn = schema.sample(Everything, Random(seed))
    assert 0 <= drawn.number <= 100
    assert drawn.count in range(4, 10)
    assert len(drawn.pair) == 2


def test_a_sample_takes_every_choice() -> None:
    drawn = [schema.sample(Everything, Random(seed)) for seed in range(60)]
    assert {one.side for one in drawn} == set(Side)
    assert {one.vote for one in drawn} == {"up", "down"}
    assert {one.yes for one in drawn} == {True, False}
    assert {one.maybe is None for one in drawn} == {True, False}


@pytest.mark.parametrize(
    "text",
    [
        '{"number": 33}',
        ' {"number":33.0}\n',
        'Well. ```json\n{"number": 33}\n```',
        'I choose {"number": 33}, since {"number": 34} is high.',
        '[{"number": 33}]',
    ],
)
def test_read(text: str) -> None:
    assert schema.read(text, Guess) == Guess(33.0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "truncated"),
        ("33", "Expected `object`"),
        ("a lamp", "malformed"),
        ('{"number": "33"}', "Expected `float`, got `str`"),
        ('{"guess": 33}', "missing required field `number`"),
        ('{"number": NaN}', "malformed"),
        ('{"number": 1e999}', "range"),
        ('{"number": 33', "truncated"),
        ("so {be it", "malformed"),
        ('x {"a":' * 50_000, "malformed"),
        ('{"number":' + "[" * 50_000, ""),
        ('{"more":' + "[" * 50_000, "recursion"),
        ('x {"number":' + "[" * 50_000, ""),
    ],
)
def test_read_says_what_does_not_fit(text: str, problem: str) -> None:
    with pytest.raises(AnswerError, match="does not fit Guess: ") as error:
        schema.read(text, Guess)
    said = str(error.value)
    assert problem in said
    assert '"number"' in said
    assert len(said) < 700


def test_bounds_are_kept() -> None:
    with pytest.raises(AnswerError, match="share"):
        schema.read('{"number": 1, "share": 1}', Everything)


@dataclass
class Loose:
    number: float


@dataclass(frozen=True)
class Endless:
    more: tuple[Endless, ...]


def form(kind: Any) -> type[Any]:
    return make_dataclass("Form", [("part", kind)], frozen=True)


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (dict, "schema=dict: a schema is a frozen dataclass"),
        ({"type": "object"}, "a schema is a frozen dataclass"),
        (Guess(3.0), "a schema is a frozen dataclass"),
        (Loose, "schema=Loose"),
        (Endless, "Endless.more: Endless holds itself"),
        (form(list[int]), "Form.part: list has no schema; use float"),
        (form(dict[str, int]), "Form.part: dict has no schema"),
        (form(bytes), "Form.part: bytes has no schema"),
        (form(Any), "Form.part: any has no schema"),
        (form(object), "Form.part: custom has no schema"),
        (form(int | str), "Form.part: of unions there is only X"),
        (form(tuple[int, str]), "Form.part: tuple has no schema"),
        (form(tuple[dict[str, int], ...]), "Form.part: dict has no schema"),
        (form(Loose), "Form.part: Loose is not frozen"),
        (form("Nowhere"), "Nowhere"),
        (form(bounded(int, 3, 4, (True, True))), "Form.part: there is no number"),
        (form(bounded(float, 4, 3, (False, False))), "Form.part: there is no number"),
        (form(bounded(float, 3, 3, (True, False))), "Form.part: there is no number"),
        (form(Annotated[int, msgspec.Meta(multiple_of=2)]), "Form.part: multiple_of"),
        (form(Annotated[str, msgspec.Meta(pattern="a+")]), "Form.part: a pattern"),
    ],
)
def test_check_names_the_field(cls: Any, problem: str) -> None:
    with pytest.raises(UsageError) as error:
        schema.check(cls)
    assert problem in str(error.value)


def test_check_takes_everything() -> None:
    schema.check(Everything)
    schema.check(make_dataclass("Empty", [], frozen=True))


def test_a_range_that_is_one_number() -> None:
    cls = form(bounded(float, 0.3, 0.3, (False, False)))
    assert math.isclose(schema.sample(cls, Random(1)).part, 0.3)
