"""Values and keys of a file, read and checked: numbers, shares, names, ranges, kinds of columns."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import SpecError
from daskagents.personas.labels import Column, make_labels
from daskagents.personas.nodes import Node, Problems, hint

Type: TypeAlias = Literal["int", "float", "bool", "text"]
Scalar: TypeAlias = "int | float | bool | str"

_DTYPES = {"int": np.int64, "float": np.float64, "bool": np.bool_}


@dataclass(frozen=True)
class Kind:
    """What is known of a column before anybody is made.

    Parameters
    ----------
    type
        ``"int"``, ``"float"``, ``"bool"`` or ``"text"``.
    values
        All values that can occur, where these are few and known.
    low, high
        Where the numbers of others lie.
    """

    type: Type
    values: tuple[Scalar, ...] | None = None
    low: float = -math.inf
    high: float = math.inf

    @property
    def said(self) -> str:
        """In words."""
        return {"int": "whole numbers", "float": "numbers", "bool": "true or false"}.get(
            self.type, "texts"
        )

    @property
    def is_number(self) -> bool:
        """Whether it is one of numbers."""
        return self.type in ("int", "float")


def number(node: Node, problems: Problems, whole: bool = False) -> float | None:
    """Return a finite number; what is none is noted."""
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        problems.add(node, f"is {node.said}, not a number")
        return None
    if whole and value != int(value):
        problems.add(node, f"is {value!r}, not a whole number")
        return None
    if abs(value) > 2**62:
        problems.add(node, f"is {value!r}, which is too large")
        return None
    return int(value) if whole else value


def share(node: Node, problems: Problems) -> float | None:
    """Return a share or weight: a number, or a text such as ``1/3`` or ``12.5%``; not negative.

    Examples
    --------
    >>> share(Node("1/4"), Problems()), share(Node("12.5%"), Problems())
    (0.25, 0.125)
    """
    value = node.value
    if isinstance(value, str):
        if re.fullmatch(r"\d{1,15}\s*/\s*0*[1-9]\d{0,14}", value):
            value = float(Fraction(value.replace(" ", "")))
        elif re.fullmatch(r"\d{1,15}(\.\d{1,15})?\s*%", value):
            value = float(value.rstrip("% ")) / 100
    found = number(Node(value, node.path, node.place, node.is_mapping), problems)
    if found is not None and found < 0:
        problems.add(node, f"is {found:g}; it cannot be negative")
        return None
    return found


def field_name(name: Any) -> str:
    """Return the name of a field.

    Raises
    ------
    SpecError
        If it cannot be one.
    """
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        cure = re.sub(r"\W+", "_", str(name)).strip("_")
        cure = cure if cure.isidentifier() and not keyword.iskeyword(cure) else f"field_{cure}"
        raise SpecError(f"{name!r} is no name of a field; write {cure!r}")
    if name == "agent" or name.startswith("__"):
        raise SpecError(f"a field cannot be called {name!r}, which has a meaning; rename it")
    return name


def type_of(values: Iterable[Any]) -> Type | None:
    """Return the one type of values; None where they are of several.

    Examples
    --------
    >>> type_of([1, 2.5]), type_of(["a"]), type_of([True]), type_of([True, 1])
    ('float', 'text', 'bool', None)
    """
    types = {type(value) for value in values}
    if types <= {str}:
        return "text"
    if types <= {bool}:
        return "bool"
    if types <= {int}:
        return "int"
    return "float" if types <= {int, float} else None


def lookup(values: Sequence[Any], kind: Kind) -> Column:
    """Return values as a column of a kind."""
    if kind.type == "text":
        return make_labels(np.arange(len(values)), [str(value) for value in values])
    return np.array(values, _DTYPES[kind.type])


def take(table: Column, rows: NDArray[Any]) -> Column:
    """Return rows of a column; the codes of labels stay small."""
    return table[rows]


_NUMBER = r"[-+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\s*(?:-|\u2013|to|\.\.)\s*({_NUMBER})")
_OPEN = re.compile(rf"({_NUMBER})\s*(?:\+|and over|or more)")
_BELOW = re.compile(rf"(<=|>=|<|>|≤|≥|under |over )\s*({_NUMBER})")


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` up to, but not including, `high`."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value < self.high


def interval(key: Any, whole: bool) -> Interval | None:
    """Return what numbers a key of a condition means; None if none.

    Parameters
    ----------
    key
        A number, or a text: ``18-29``, ``65+``, ``<18``, ``>=65``, ``-5 to 5``.
    whole
        Whether the numbers are whole: then ``18-29`` includes all of 29, else it ends before it.

    Examples
    --------
    >>> interval("18-29", True), interval("0-1000", False)
    (Interval(low=18.0, high=30.0), Interval(low=0.0, high=1000.0))
    >>> interval("65+", True), interval("<18", True), interval(7, True)
    (Interval(low=65.0, high=inf), Interval(low=-inf, high=18.0), Interval(low=7.0, high=8.0))
    """
    step = 1.0 if whole else 0.0
    if isinstance(key, bool) or not isinstance(key, int | float | str):
        return None
    if isinstance(key, str) and re.fullmatch(_NUMBER, key.strip()):
        key = float(key)
    if isinstance(key, int | float):
        return Interval(float(key), key + 1.0 if whole else math.nextafter(key, math.inf))
    text = key.strip()
    if found := _RANGE.fullmatch(text):
        low, high = float(found[1]), float(found[2])
        return Interval(low, high + step) if low < high + step else None
    if found := _OPEN.fullmatch(text):
        return Interval(float(found[1]), math.inf)
    if not (found := _BELOW.fullmatch(text)):
        return None
    sign, edge = found[1].strip(), float(found[2])
    after = edge + 1 if whole else math.nextafter(edge, math.inf)
    if sign in ("<", "under"):
        return Interval(-math.inf, edge)
    if sign in ("<=", "≤"):
        return Interval(-math.inf, after)
    return Interval(edge if sign in (">=", "≥") else after, math.inf)


def expect_keys(node: Node, known: Sequence[str], problems: Problems) -> bool:
    """Note keys of a mapping that are unknown; return whether it is a mapping."""
    if not node.is_mapping:
        problems.add(node, f"is {node.said}, not a mapping with {', '.join(known)}")
        return False
    for key, _ in node.value:
        if key.value not in known:
            problems.add(key, f"unknown{hint(key.value, known)}")
    return True


def kind_of_values(values: Sequence[Any]) -> Kind:
    """Return the kind of a column that has only these values, all of one type.

    Examples
    --------
    >>> kind_of_values([3, 1]).high
    3
    """
    found = type_of(values)
    assert found is not None, values
    known = tuple(dict.fromkeys(values))
    if found in ("int", "float"):
        return Kind(found, known, min(values), max(values))
    return Kind(found, known)
