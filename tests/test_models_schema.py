from __future__ import annotations

from dataclasses import dataclass, is_dataclass, make_dataclass
from enum import Enum
from itertools import count
from random import Random
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskagents.errors import AnswerError
from daskagents.fake_server.draws import draws
from daskagents.fake_server.fitting import Fitting
from daskagents.models import schema
from daskagents.models.kinds import kind_of
from daskagents.models.samples import sample


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


def form(kind: Any) -> type[Any]:
    """Return a frozen dataclass of one field."""
    return make_dataclass("Form", [("part", kind)], frozen=True)


schemas = st.lists(types(), max_size=3).map(dataclass_of)
#: What a model may answer with: a dataclass, or a value alone.
answers = schemas | types()


@given(answers, st.integers(0, 2**32))
def test_what_fits_the_json_schema_is_read(kind: Any, seed: int) -> None:
    value = Fitting(schema.json_schema(kind), draws(b"", b"", seed)).fit()
    read = schema.read(msgspec.json.encode(value).decode(), kind)
    whole = {"answer": read} if kind_of(kind).wrapped else read
    # To be read again, for whole numbers are read as floats where a float is wanted.
    assert schema.read(msgspec.json.encode(whole).decode(), kind) == read


@given(answers.filter(lambda kind: not is_dataclass(kind)), st.integers(0, 2**32))
def test_a_value_alone_is_read_with_its_object_and_without(kind: Any, seed: int) -> None:
    value = sample(kind, Random(seed))
    text = msgspec.json.encode(value).decode()
    assert schema.read(f'{{"answer": {text}}}', kind) == value
    assert schema.read(f'So: {{"answer": {text}}}.', kind) == value
    if "{" not in text:
        assert schema.read(f" {text}\n", kind) == value


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("left", Side, Side.LEFT),
        ("up", Literal["up", "down"], "up"),
        ("True", bool, True),
        ("3", Annotated[int, msgspec.Meta(ge=1, le=5)], 3),
        ("3", str, "3"),
        ("null", int | None, None),
        ("", str, ""),
    ],
)
def test_words_alone_are_read(text: str, kind: Any, value: Any) -> None:
    found = schema.read(text, kind)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "kind", "problem"),
    [
        ("6", Annotated[int, msgspec.Meta(ge=1, le=5)], "<= 5"),
        ("Left or right", Side, "Invalid enum value"),
        ('{"answer": "le', str, "truncated"),
        ('{"answers": 3}', int, "missing required field `answer`"),
        ("3.5", int, "Expected `int`"),
        ("nan", Annotated[float, msgspec.Meta(ge=0)], ""),
    ],
)
def test_words_alone_that_do_not_fit(text: str, kind: Any, problem: str) -> None:
    with pytest.raises(AnswerError, match="the answer does not fit") as error:
        schema.read(text, kind)
    assert problem in str(error.value)
    assert '{"answer": {"' in str(error.value)


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
