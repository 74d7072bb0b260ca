"""Annotations: what no field can be is refused when the class is made, with the cure."""

from __future__ import annotations

import collections
import collections.abc
import datetime
import enum
import typing
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import xarray as xr

from daskagents.annotations import read_annotation
from daskagents.errors import FieldError
from daskagents.fields import make_field

T = TypeVar("T")
Years = NewType("Years", int)
MUTABLE = "is mutable, and the state of an agent is made of immutable values; use "
#: The end of the error about a type that is no value at all.
NONE = "; use float, int, bool, str, bytes, tuple, an Enum, a @dataclass(frozen=True) of these, or"


@dataclass
class Open:
    x: int = 0


@dataclass(frozen=True)
class Holder:
    inner: tuple[Open, ...]


@dataclass(frozen=True)
class Lists:
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Tree:
    left: Tree | None = None


@dataclass(frozen=True)
class Lost:
    x: Nowhere  # type: ignore[name-defined]  # noqa: F821


@dataclass(frozen=True)
class Made:
    x: int

    def __new__(cls, x: int) -> Made:
        return super().__new__(cls)


@dataclass(frozen=True)
class Pair(Generic[T]):
    x: T


class Point(NamedTuple):
    x: int


class Flags(enum.Flag):
    A = 1


class Nothing(enum.Enum):
    pass


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (list, f"list {MUTABLE}tuple"),
        (list[str], f"list {MUTABLE}tuple[str, ...]"),
        (typing.List[int], f"list {MUTABLE}tuple[int, ...]"),  # noqa: UP006
        (list[tuple[int, str]], f"list {MUTABLE}tuple[tuple[int, str], ...]"),
        (collections.deque[int], f"deque {MUTABLE}tuple[int, ...]"),
        (collections.abc.Sequence[int], f"Sequence {MUTABLE}tuple[int, ...]"),
        (dict, f"dict {MUTABLE}a frozen dataclass, or a tuple of pairs: tuple"),
        (
            dict[str, int],
            f"dict {MUTABLE}a frozen dataclass, or a tuple of pairs: tuple[tuple[str, int], ...]",
        ),
        (collections.abc.Mapping[str, int], f"Mapping {MUTABLE}a frozen dataclass, or a tuple"),
        (collections.Counter[str], f"Counter {MUTABLE}a frozen dataclass, or a tuple"),
        (set[str], f"set {MUTABLE}tuple[str, ...]"),
        (frozenset[str], "the order of a frozenset differs from one process to the next"),
        (frozenset, "use tuple[str, ...], sorted"),
        (bytearray, f"bytearray {MUTABLE}bytes"),
        (np.ndarray, f"ndarray {MUTABLE}tuple[float, ...], or one field per number"),
        (npt.NDArray[np.float64], f"ndarray {MUTABLE}tuple[float, ...], or one field per number"),
        (xr.DataArray, f"DataArray {MUTABLE}tuple[float, ...], or one field per number"),
        (xr.Dataset, f"Dataset {MUTABLE}"),
        (pd.Series, f"Series {MUTABLE}tuple[float, ...], or one field per number"),
        (Open, f"Open {MUTABLE}@dataclass(frozen=True) for it"),
        (list[str] | None, f"list {MUTABLE}tuple[str, ...]"),
        (tuple[list[int], ...], f"list {MUTABLE}tuple[int, ...]"),
        (tuple[int, set[str]], f"set {MUTABLE}tuple[str, ...]"),
        (Annotated[list[str], "names"], f"list {MUTABLE}tuple[str, ...]"),
        (np.float64, "float64 is a type of NumPy; use float, which takes values of NumPy too"),
        (np.int32, "int32 is a type of NumPy; use int, which takes values of NumPy too"),
        (np.bool_, "is a type of NumPy; use bool, which takes"),
        (np.complex128, "complex128 is a type of NumPy; use float or int"),
        (Flags, "Flags is a Flag; use int, or one bool per flag"),
        (Nothing, "Nothing has no members"),
        (datetime.datetime, f"a field cannot be of type datetime{NONE}"),
        (complex, f"a field cannot be of type complex{NONE}"),
        (object, f"a field cannot be of type object{NONE}"),
        (None, f"a field cannot be of type None{NONE}"),
        (type(None), f"a field cannot be of type NoneType{NONE}"),
        (Point, f"a field cannot be of type Point{NONE}"),
        (T, f"a field cannot be of type ~T{NONE}"),
        (Pair[int], f"a field cannot be of type ~T{NONE}"),
        (
            collections.abc.Callable[[int], int],
            "a field cannot be of type collections.abc.Callable",
        ),
        (3, f"a field cannot be of type 3{NONE}"),
        ("Nowhere", "the annotation 'Nowhere' cannot be read; define its type at the top"),
        (tuple["Nowhere", ...], "the annotation 'Nowhere' cannot be read"),  # type: ignore[name-defined]  # noqa: F821
        (Lost, "an annotation of Lost cannot be read (name 'Nowhere' is not defined); define its"),
        (Tree, "Tree holds another Tree, and how deep is not known when the class is made"),
        (Made, "Made has a __new__ of its own; leave it out"),
        (Literal[Flags.A], "Flags.A: 1> cannot be in a Literal of a field"),
        (Literal[None], "None cannot be in a Literal of a field"),
        (Literal[2**64], "18446744073709551616 does not fit in 64 bits"),
    ],
    ids=str,
)
def test_refused_with_the_cure(annotation: Any, said: str) -> None:
    with pytest.raises(FieldError) as caught:
        make_field("Player", "friends", annotation)
    assert str(caught.value).startswith("Player.friends")
    assert said in str(caught.value)
    with pytest.raises(TypeError):
        make_field("Player", "friends", annotation, ())


def test_the_whole_text_of_a_refusal() -> None:
    with pytest.raises(FieldError) as caught:
        make_field("Player", "friends", list[str])
    assert str(caught.value) == (
        "Player.friends: list is mutable, and the state of an agent is made of immutable values;"
        " use tuple[str, ...]"
    )


@pytest.mark.parametrize(
    ("annotation", "where"), [(Holder, "Player.x.inner: Open"), (Lists, "Player.x.names: list")]
)
def test_a_member_is_named(annotation: Any, where: str) -> None:
    with pytest.raises(FieldError) as caught:
        make_field("Player", "x", annotation)
    assert str(caught.value).startswith(where)


@pytest.mark.parametrize(
    ("annotation", "label"),
    [
        (float, "float"),
        (int | None, "int | None"),
        (typing.Optional[str], "str | None"),  # noqa: UP045
        (tuple, "tuple[Any, ...]"),
        (typing.Tuple, "tuple[Any, ...]"),  # noqa: UP006
        (typing.Tuple[int, ...], "tuple[int, ...]"),  # noqa: UP006
        (tuple[()], "tuple[()]"),
        (tuple[int, str | None], "tuple[int, str | None]"),
        (Annotated[int, "years"], "int"),
        (Annotated[tuple[Annotated[str, 1], ...], []], "tuple[str, ...]"),
        (Years, "int"),
        (Years | None, "int | None"),
        (Literal["a", 1, None], "Literal['a', 1] | None"),
        (int | str | tuple[str, ...], "int | str | tuple[str, ...]"),
    ],
)
def test_what_annotations_mean(annotation: Any, label: str) -> None:
    assert read_annotation("Player.x", annotation).label == label
    assert make_field("Player", "x", annotation).label == label


def test_a_type_alias() -> None:
    class TypeAliasType:  # as of Python 3.12: `type Names = tuple[str, ...]`
        __value__ = tuple[str, ...]

    assert read_annotation("Player.x", TypeAliasType()).label == "tuple[str, ...]"
