"""Fields: values of every type come back as they were; what does not fit is said clearly."""

from __future__ import annotations

import enum
import math
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Optional, Union

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskagents.columns import Plain, Ragged, concat, ragged_bytes, ragged_strings
from daskagents.errors import FieldError
from daskagents.fields import MISSING, Field, make_field


class Color(enum.Enum):
    RED = "red"
    GREEN = ["green"]  # noqa: RUF012 - a value that cannot be hashed
    BLUE = {"b": 1}  # noqa: RUF012
    ROSE = "red"  # an alias


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = "yes"
    NO = "no"


@dataclass(frozen=True)
class Item:
    name: str
    price: float = 0.5
    tags: tuple[str, ...] = ()
    color: Color | None = None
    _secret: bytes = b""


@dataclass(frozen=True, slots=True)
class Deal:
    items: tuple[Item, ...]
    best: Item | None = None
    paid: int | str = 0
    total: int = field(init=False, default=-1)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.total + len(self.items) + 1)


@dataclass(frozen=True)
class Empty:
    pass


INTS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
SCALARS = st.none() | st.booleans() | INTS | FLOATS | TEXTS | st.binary()
NESTED = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=8)
COLORS = st.sampled_from(Color)
NONE = st.none()


def many(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=4).map(tuple)


ITEMS = st.builds(Item, TEXTS, FLOATS, many(TEXTS), NONE | COLORS, st.binary())
DEALS = st.builds(Deal, many(ITEMS), NONE | ITEMS, INTS | TEXTS)

#: Every kind of annotation, and its values.
TYPES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "float": (float, FLOATS),
    "int": (int, INTS),
    "bool": (bool, st.booleans()),
    "str": (str, TEXTS),
    "bytes": (bytes, st.binary()),
    "any": (Any, NESTED),
    "tuple": (tuple, many(NESTED)),
    "tuple of floats": (tuple[float, ...], many(FLOATS)),
    "tuple of ints": (tuple[int, ...], many(INTS)),
    "tuple of any": (tuple[Any, ...], many(NESTED)),
    "tuple of three": (
        tuple[int, str | None, tuple[Any, ...]],
        st.tuples(INTS, NONE | TEXTS, many(NESTED)),
    ),
    "tuple of tuples": (tuple[tuple[str, bytes], ...], many(st.tuples(TEXTS, st.binary()))),
    "tuple of none": (tuple[()], st.just(())),
    "tuple of optionals": (tuple[int | None, ...], many(NONE | INTS)),
    "tuple of colors": (tuple[Color, Level], st.tuples(COLORS, st.sampled_from(Level))),
    "optional float": (
        Optional[float],  # noqa: UP045
        NONE | FLOATS,
    ),
    "optional int": (int | None, NONE | INTS),
    "optional bool": (bool | None, NONE | st.booleans()),
    "optional str": (str | None, NONE | TEXTS),
    "optional bytes": (None | bytes, NONE | st.binary()),
    "optional any": (Any | None, NESTED),
    "optional tuple": (tuple[str, ...] | None, NONE | many(TEXTS)),
    "optional color": (Color | None, NONE | COLORS),
    "optional item": (Item | None, NONE | ITEMS),
    "color": (Color, COLORS),
    "level": (Level, st.sampled_from(Level)),
    "word": (Word, st.sampled_from(Word)),
    "item": (Item, ITEMS),
    "deal": (Deal, DEALS),
    "empty": (Empty, st.just(Empty())),
    "int or str": (int | str, INTS | TEXTS),
    "str or bytes": (
        Union[str, bytes, None],  # noqa: UP007
        NONE | TEXTS | st.binary(),
    ),
    "numbers": (bool | int | float, st.booleans() | INTS | FLOATS),
    "item or deal": (Item | Deal, ITEMS | DEALS),
    "member or its like": (
        str | int | Word | Level,
        TEXTS | INTS | st.sampled_from([*Word, *Level]),
    ),
    "tuples": (tuple[int, ...] | tuple[str, ...], many(INTS) | many(TEXTS)),
    "union in tuple": (tuple[Item | int | None, ...], many(NONE | INTS | ITEMS)),
    "literal": (Literal["a", "b"], st.sampled_from(["a", "b"])),
    "literal int": (Literal[1, 2], st.sampled_from([1, 2])),
    "mixed literal": (Literal["a", 1, True, b"x"], st.sampled_from(["a", 1, True, b"x"])),
    "optional literal": (Literal["a", None], st.sampled_from(["a", None])),
    "literal or int": (Literal["a", None] | int, st.sampled_from(["a", None]) | INTS),
    "tuple of literals": (tuple[Literal["a", 1], ...], many(st.sampled_from(["a", 1]))),
}


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal and of the same types, NaN being NaN, 0.0 not -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (one != one and other != other) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if is_dataclass(one):
        return all(same(getattr(one, m.name), getattr(other, m.name)) for m in fields(one))
    return bool(one == other)


def check_round_trip(made: Field, values: Sequence[Any]) -> None:
    values = [made.coerce(value) for value in values]
    coerced, errors = made.bulk(values)
    assert not errors
    assert same(tuple(coerced), tuple(values))
    column = made.column(values)
    assert len(column) == len(values)
    assert same(tuple(made.tolist(column)), tuple(values))
    for row, value in enumerate(values):
        assert same(made.item(column, row), value)


@pytest.mark.parametrize("name", TYPES)
@given(data=st.data())
@settings(max_examples=25)
def test_values_come_back(name: str, data: st.DataObject) -> None:
    annotation, strategy = TYPES[name]
    made = make_field("Player", "x", annotation)
    values = data.draw(st.lists(strategy, max_size=6))
    for value in values:
        assert same(made.coerce(value), value)
    check_round_trip(made, values)


@pytest.mark.parametrize("name", TYPES)
@given(data=st.data())
@settings(max_examples=25)
def test_columns_are_as_lists(name: str, data: st.DataObject) -> None:
    annotation, strategy = TYPES[name]
    made = make_field("Player", "x", annotation)
    model, other = data.draw(st.lists(strategy, max_size=6)), data.draw(st.lists(strategy))
    column = made.column(model)
    both = made.tolist(concat([column, made.column(other)]))
    assert same(tuple(both), (*model, *other))
    if model:
        rows = [data.draw(st.sampled_from(range(len(model)))) for _ in other]
        changed = column.put(np.array(rows, np.int64), made.column(other))
        for row, value in zip(rows, other, strict=True):
            model[row] = value
        assert same(tuple(made.tolist(changed)), tuple(model))
        found = made.tolist(changed.take(np.array(rows, np.int64)))
        assert same(tuple(found), tuple(model[row] for row in rows))


@pytest.mark.parametrize("name", TYPES)
@given(data=st.data())
@settings(max_examples=25)
def test_arrays_for_xarray(name: str, data: st.DataObject) -> None:
    annotation, strategy = TYPES[name]
    made = make_field("Player", "x", annotation)
    values = data.draw(st.lists(strategy, max_size=6))
    found = made.numpy(made.column(values))
    assert found.shape == (len(values),)
    kind = annotation if isinstance(annotation, type) else type(None)
    if made.cheap and not made.optional:
        assert found.dtype == np.dtype(kind)
        assert same(tuple(found.tolist()), tuple(values))
    elif made.cheap:
        assert found.dtype == np.float64
        expected = [math.nan if value is None else float(value) for value in values]
        assert same(tuple(found.tolist()), tuple(expected))
    elif name in ("str", "optional str", "literal", "optional literal"):
        assert found.dtype == np.dtypes.StringDType()
        assert found.tolist() == [value or "" for value in values]
    elif "color" in name and "tuple" not in name:
        assert found.dtype == np.dtypes.StringDType()
        assert found.tolist() == ["" if value is None else value.name for value in values]
    elif name not in ("level", "word", "literal int"):
        assert found.dtype == object
        assert same(tuple(found), tuple(values))


@pytest.mark.parametrize("name", TYPES)
@given(data=st.data())
@settings(max_examples=25)
def test_full_repeats_the_default(name: str, data: st.DataObject) -> None:
    annotation, strategy = TYPES[name]
    default = data.draw(strategy)
    made = make_field("Player", "x", annotation, default)
    assert not made.required
    assert same(made.default, default)
    for n in (0, 1, 3):
        assert same(tuple(made.tolist(made.full(n))), (default,) * n)


def test_full_needs_a_default() -> None:
    made = make_field("Player", "x", int)
    assert made.required
    assert made.default is MISSING
    with pytest.raises(FieldError, match=r"Player\.x has no default"):
        made.full(3)


@pytest.mark.parametrize(
    ("annotation", "value", "coerced"),
    [
        (float, 3, 3.0),
        (float, np.float32(0.5), 0.5),
        (float, np.uint8(7), 7.0),
        (float, Level.HIGH, 2.0),
        (int, np.int8(-3), -3),
        (int, np.uint64(2**63 - 1), 2**63 - 1),
        (bool, np.True_, True),
        (str, np.str_("a"), "a"),
        (str, Word.YES, "yes"),
        (bytes, np.bytes_(b"a\0b"), b"a\0b"),
        (tuple[float, ...], (1, np.float32(2)), (1.0, 2.0)),
        (tuple[float, int], (1, np.int8(2)), (1.0, 2)),
        (tuple[float | None, ...], (1, None), (1.0, None)),
        (tuple, (np.int8(1), (np.float32(2), np.str_("x")), np.True_), (1, (2.0, "x"), True)),
        (Any, np.float64(2), 2.0),
        (int | float, np.float64(2), 2.0),
        (float | str, 1, 1.0),
        (Item, Item("a", 1), Item("a", 1.0)),
        (Item | None, Item("a", np.float64(1)), Item("a", 1.0)),
        (Literal["a"], np.str_("a"), "a"),
    ],
)
def test_values_are_coerced(annotation: Any, value: Any, coerced: Any) -> None:
    made = make_field("Player", "x", annotation)
    found = made.coerce(value)
    assert same(found, coerced)
    assert same(made.coerce(found), coerced)
    assert same(tuple(made.bulk([value, value])[0]), (coerced, coerced))
    assert same(make_field("Player", "x", annotation, value).default, coerced)
    check_round_trip(made, [value])


@pytest.mark.parametrize(
    ("annotation", "value", "said"),
    [
        (int, "ten", "Player.age: 'ten' is no int"),
        (int, 3.0, "Player.age: 3.0 is no int; use int(...)"),
        (int, np.float64(3), "Player.age: np.float64(3.0) is no int; use int(...)"),
        (int, True, "Player.age: True is no int; use int(...)"),
        (int, None, "Player.age: None is no int; declare age: int | None"),
        (int, 2**63, "9223372036854775808 does not fit in 64 bits; use a float or a str"),
        (int, np.uint64(2**64 - 1), "does not fit in 64 bits"),
        (int, np.timedelta64(3, "D"), "is no int"),
        (int | None, "x", "Player.age: 'x' is no int"),
        (float, "1.5", "Player.age: '1.5' is no float"),
        (float, True, "Player.age: True is no float"),
        (float, np.True_, "is no float"),
        (float, 10**400, "is too large for a float"),
        (float, np.array(1.5), "is no float"),
        (bool, 1, "Player.age: 1 is no bool"),
        (str, b"x", "Player.age: b'x' is no str"),
        (str, "ab\ud800", "holds a lone surrogate at position 2"),
        (str | None, "\ud800", "holds a lone surrogate at position 0"),
        (bytes, "x", "Player.age: 'x' is no bytes"),
        (bytes, bytearray(b"x"), "is no bytes; use bytes(...)"),
        (tuple, [1], "Player.age: [1] is no tuple; use tuple(...)"),
        (tuple, ([1],), "Player.age[0]: [1] is none of the values that need no declared type"),
        (tuple, (1, (2, {})), "Player.age[1][1]: {} is none of"),
        (tuple, (Item("a"),), "Player.age[0]: Item(name='a'"),
        (tuple, (Item("a"),), "would not come back as a Item; declare it, as tuple[Item, ...]"),
        (tuple, (Level.LOW,), "would not come back as a Level"),
        (tuple, (2**64,), "Player.age[0]: 18446744073709551616 does not fit in 64 bits"),
        (tuple, ("\ud800",), "Player.age[0]: '\\ud800' holds a lone surrogate"),
        (tuple, (np.datetime64("2020-01-01", "ns"),), "is none of the values"),
        (tuple[int, ...], (1, "x"), "Player.age[1]: 'x' is no int"),
        (tuple[int, ...], (1, 2**70), "does not fit in 64 bits"),
        (tuple[int, str], (1,), "has 1 elements, and tuple[int, str] 2"),
        (tuple[()], (1,), "has 1 elements, and tuple[()] 0"),
        (tuple[tuple[float, str], ...], ((1.0, "x"), (1.0, 2)), "Player.age[1][1]: 2 is no str"),
        (Color, "RED", "Player.age: 'RED' is no Color (RED, GREEN, BLUE)"),
        (Color, Level.LOW, "is no Color"),
        (Item, "x", "Player.age: 'x' is no Item"),
        (Item, Item(name=3), "Player.age.name: 3 is no str"),  # type: ignore[arg-type]
        (Deal, Deal((Item("a", tags=("b", 3)),)), "Player.age.items[0].tags[1]: 3 is no str"),  # type: ignore[arg-type]
        (Item | Deal, Empty(), "Player.age: Empty() is no Item | Deal"),
        (int | str, 1.5, "Player.age: 1.5 is no int | str"),
        (int | float, 2**70, "does not fit in 64 bits"),
        (Literal["a", "b"], "c", "Player.age: 'c' is none of 'a', 'b'"),
        (Literal[1], True, "True is no int"),
        (Literal[1, "a"], True, "True is none of 1, 'a'"),
    ],
)
def test_what_does_not_fit(annotation: Any, value: Any, said: str) -> None:
    made = make_field("Player", "age", annotation)
    with pytest.raises(FieldError) as caught:
        made.coerce(value)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300
    values, errors = made.bulk([value])
    assert values[0] is value
    assert str(errors[0]) == str(caught.value)
    with pytest.raises(FieldError, match=r"^Player\.age: the default "):
        make_field("Player", "age", annotation, value)


def test_a_subclass_would_lose_its_fields() -> None:
    @dataclass(frozen=True)
    class Special(Item):
        more: int = 0

    made = make_field("Player", "x", Item)
    with pytest.raises(FieldError, match=r"is no Item, but of a subclass"):
        made.coerce(Special("a"))


def test_an_instance_without_a_value() -> None:
    broken = object.__new__(Item)
    with pytest.raises(FieldError, match=r"is not complete: .*name"):
        make_field("Player", "x", Item).coerce(broken)


def test_tuples_nested_without_end() -> None:
    value: tuple[Any, ...] = ()
    for _ in range(100):
        value = (value,)
    made = make_field("Player", "x", tuple)
    check_round_trip(made, [value])
    with pytest.raises(FieldError, match="nested in 100 others"):
        made.coerce((value,))


def test_bulk_says_which_do_not_fit() -> None:
    made = make_field("Player", "x", int)
    values, errors = made.bulk([1, "a", np.int8(3), 2**64, 5])
    assert values == [1, "a", 3, 2**64, 5]
    assert {at: str(error) for at, error in errors.items()} == {
        1: "Player.x: 'a' is no int",
        3: "Player.x: 18446744073709551616 does not fit in 64 bits; use a float or a str",
    }
    values, errors = make_field("Player", "x", str | None).bulk(["a", None, "\ud800"])
    assert values == ["a", None, "\ud800"]
    assert list(errors) == [2]


@pytest.mark.parametrize(
    ("annotation", "exact", "cheap"),
    [
        (float, {float}, True),
        (bool, {bool}, True),
        (int | None, {int, type(None)}, True),
        (str, {str}, False),
        (bytes | None, {bytes, type(None)}, False),
        (tuple[int, ...], set(), False),
        (Color | None, set(), False),
        (Item, set(), False),
        (Literal[1], set(), False),
        (int | str, set(), False),
        (Any, set(), False),
    ],
)
def test_what_a_field_says_of_its_type(annotation: Any, exact: set[Any], cheap: bool) -> None:
    made = make_field("Player", "x", annotation)
    assert (set(made.exact), made.cheap) == (exact, cheap)
    assert made.optional == (type(None) in getattr(annotation, "__args__", ()))


@pytest.mark.parametrize("annotation", [float, int, bool, str, bytes, int | None, str | None])
def test_exact_values_are_not_copied(annotation: Any) -> None:
    made = make_field("Player", "x", annotation)
    value = next(t for t in made.exact if t is not type(None))()
    values = [value, None] if made.optional else [value]
    assert made.bulk(values)[0] == values
    assert all(a is b for a, b in zip(made.bulk(values)[0], values, strict=True))


def test_a_long_text_and_a_long_tuple() -> None:
    check_round_trip(make_field("Player", "x", str), ["x" * 2**20, "😀" * 2**18, ""])
    check_round_trip(
        make_field("Player", "x", tuple[str, ...]), [("ü" * 2**20,), tuple("ab" * 999)]
    )
    with pytest.raises(FieldError) as caught:
        make_field("Player", "x", int).coerce("x" * 2**20)
    assert len(str(caught.value)) < 100


def test_what_is_kept_is_what_was_made() -> None:
    deal = Deal((Item("a"),))
    made = make_field("Player", "x", Deal)
    assert made.item(made.column([deal]), 0).total == deal.total == 1, "__post_init__ ran twice"


def test_columns_hold_nothing_of_the_users() -> None:
    for annotation, value in ((Item, Item("a")), (Deal, Deal(())), (Color, Color.RED)):
        column = make_field("Player", "x", annotation).column([value])
        for sent in (pickle.dumps(column), cloudpickle.dumps(column)):
            assert type(column).__module__.encode() in sent
            assert not any(word.encode() in sent for word in ("Item", "Deal", "Color", __name__))


@pytest.mark.parametrize(("members", "dtype"), [(1, "u1"), (256, "u1"), (257, "u2")])
def test_members_take_as_few_bytes_as_they_can(members: int, dtype: str) -> None:
    large = enum.Enum("large", [f"M{at}" for at in range(members)])
    made = make_field("Player", "x", large | None)
    values = [*large, None, *large]
    column = made.column(values)
    assert isinstance(column, Plain)
    assert column.values.dtype == dtype
    assert made.tolist(column) == values
    assert made.numpy(column).tolist() == [value.name if value else "" for value in values]
    assert made.array(column).tolist() == values
    assert made.assigned(made.array(column), len(values)).nbytes == column.nbytes


def test_members_may_stand_in_ints_of_any_size() -> None:
    made = make_field("Player", "x", Color | None)
    small = made.column([Color.RED, None, Color.BLUE])
    assert isinstance(small, Plain)
    wide = Plain(small.values.astype(np.int64), small.mask)
    last = made.column([Color.GREEN])
    for column in (small, wide):
        changed = column.put(np.array([1]), last)
        assert made.tolist(changed) == [Color.RED, Color.GREEN, Color.BLUE]
        assert made.numpy(column).tolist() == ["RED", "", "BLUE"]
        assert made.tolist(concat([last, column])) == [Color.GREEN, Color.RED, None, Color.BLUE]
    assert made.tolist(small.put(np.arange(3), wide)) == made.tolist(small)


def test_fields_can_be_sent() -> None:
    for name, (annotation, _) in TYPES.items():
        made = make_field("Player", name, annotation)
        found = pickle.loads(cloudpickle.dumps(made))
        assert found == made
        assert found.default is MISSING
        assert (found.label, found.exact) == (made.label, made.exact)
    assert repr(make_field("Player", "x", int)) == (
        "Field(name='x', owner='Player', type=<class 'int'>, default=MISSING)"
    )


def test_a_field_is_sent_with_a_class_that_knows_its_owner() -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(  # a program of a user: its classes go by value, and these refer to each other
        "from dataclasses import dataclass\n"
        "from daskagents.fields import make_field\n"
        "@dataclass(frozen=True)\n"
        "class Offer:\n"
        "    price: float\n"
        "    def owner(self): return Player\n"
        "class Player: pass\n"
        "Player.x = make_field('Player', 'x', Offer)\n",
        space,
    )
    sent = cloudpickle.dumps(space["Offer"])
    there = (
        "import pickle, sys\n"
        "offer = pickle.load(sys.stdin.buffer)\n"
        "field = offer(1.5).owner().x\n"
        "assert field.item(field.column([offer(2.5)]), 0) == offer(2.5)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", there],
        input=sent,
        capture_output=True,
        cwd=Path(__file__).parents[1],
        timeout=60,
    )
    assert run.returncode == 0, run.stderr.decode()


@pytest.mark.parametrize(
    ("annotation", "column"),
    [
        (int, ragged_strings(["a"])),
        (str, Plain(np.arange(1))),
        (str, ragged_bytes([b"\xff"])),
        (Color, Plain(np.array([7]))),
        (tuple[int, ...], ragged_bytes([b"\x91\xa1a"])),
        (Item, ragged_bytes([b"\x91\xa1a"])),
        (tuple, ragged_bytes([b"\xc1"])),
    ],
)
def test_a_column_of_another_type(annotation: Any, column: Plain | Ragged) -> None:
    made = make_field("Player", "x", annotation)
    for read in (made.tolist, lambda column: made.item(column, 0)):
        with pytest.raises(FieldError, match=r"Player\.x: its column holds no .* another version"):
            read(column)
