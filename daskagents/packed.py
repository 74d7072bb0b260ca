"""Codecs of values that hold others: tuples, frozen dataclasses, unions, Literal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from itertools import repeat
from operator import is_
from types import GenericAlias, NoneType
from typing import Any, Optional

import msgspec
import numpy as np
from numpy.typing import NDArray

from daskagents.codec import Codec, Types, inside, misfit
from daskagents.columns import Mask, Texts, compact_bytes
from daskagents.errors import FieldError
from daskagents.scalars import Bool, Bytes, Float, Int, Text

#: The types that stand for themselves, in the order in which a value is matched.
SCALARS: dict[type[Any], Codec[Any]] = {
    bool: Bool(),
    int: Int(),
    float: Float(),
    str: Text(),
    bytes: Bytes(),
}

#: What values of NumPy stand for.
LIKE: dict[type[Any], type[Any]] = {
    bool: np.bool_,
    int: np.integer,
    float: np.floating,
    str: np.str_,
    bytes: np.bytes_,
}

_NESTED = (list, tuple)
_AS_THEY_ARE = frozenset({NoneType, bool, float, bytes})

#: How deep tuples without declared elements may be nested.
_DEEPEST = 100


class Packed(Codec[Texts]):
    """Values that a column keeps as msgpack, row by row."""

    def _column(self, values: Sequence[Any], mask: Mask) -> Texts:
        return compact_bytes([b"" if v is None else self.encode(v) for v in values], mask)

    def _values(self, column: Texts) -> list[Any]:
        return column.each(lambda data: self.decode(data) if data else None)

    def _item(self, column: Texts, row: int) -> Any:
        return self.decode(column.row(row))


class Anything(Packed):
    """Any scalar, None, or tuple of such: the elements of a tuple without declared ones."""

    def __init__(self) -> None:
        super().__init__("Any", Any, simple=False)

    def coerce(self, value: Any) -> Any:
        """Return a scalar or nested tuples of scalars, of Python's own types."""
        return _plain(value, _DEEPEST)

    def coerce_all(self, values: Sequence[Any], types: Types) -> Sequence[Any] | None:
        """Return the values if all are of Python's own types, nested or not."""
        return values if _are_plain(values, _DEEPEST) else None

    def unpack(self, packed: Any) -> Any:
        """Return the value, its arrays as tuples."""
        return as_tuples(packed)


def _are_plain(values: Sequence[Any], depth: int) -> bool:
    """Return whether nothing is to be coerced: the fast way, for memories of many messages."""
    for value in values:
        kind = type(value)
        if kind is tuple:
            if depth == 0 or not _are_plain(value, depth - 1):
                return False
        elif kind is str:
            if not value.isascii() and SCALARS[str].coerce_all([value], {str}) is None:
                return False
        elif kind is int:
            if not -(2**63) <= value < 2**63:
                return False
        elif kind not in _AS_THEY_ARE:
            return False
    return True


def _plain(value: Any, depth: int) -> Any:
    """Coerce a value of no declared type."""
    if value is None:
        return None
    codec = SCALARS.get(type(value))
    if codec is not None:
        return codec.coerce(value)
    if isinstance(value, tuple):
        if depth == 0:
            raise misfit(
                value, f"is a tuple nested in {_DEEPEST} others, and no deeper one is kept"
            )
        return _each(repeat(lambda element: _plain(element, depth - 1)), value)
    if isinstance(value, Enum) or dataclasses.is_dataclass(value):
        name = type(value).__name__
        raise misfit(value, f"would not come back as a {name}; declare it, as tuple[{name}, ...]")
    for kind, codec in SCALARS.items():
        if isinstance(value, kind | LIKE[kind]):
            return codec.coerce(value)
    raise misfit(
        value,
        "is none of the values that need no declared type: None, float, int, bool,"
        " str, bytes and tuples of these",
    )


def _each(coercers: Iterable[Callable[[Any], Any]], values: Sequence[Any]) -> tuple[Any, ...]:
    """Coerce the elements of a tuple one by one; say which one is wrong."""
    done: list[Any] = []
    try:
        for coerce, value in zip(coercers, values, strict=False):
            done.append(coerce(value))
    except FieldError as error:
        raise inside(f"[{len(done)}]", error) from None
    return tuple(done)


def as_tuples(value: Any) -> Any:
    """Return nested lists as nested tuples."""
    if type(value) is not list and type(value) is not tuple:
        return value
    return tuple([as_tuples(v) if type(v) in _NESTED else v for v in value])


def _check_tuple(value: Any) -> None:
    if not isinstance(value, tuple):
        cure = "; use tuple(...)" if isinstance(value, list | set | frozenset | np.ndarray) else ""
        raise misfit(value, f"is no tuple{cure}")


class Many(Packed):
    """``tuple[X, ...]``, and ``tuple``, which is ``tuple[Any, ...]``."""

    def __init__(self, element: Codec[Any]) -> None:
        wire = GenericAlias(tuple, (element.wire, ...))
        super().__init__(f"tuple[{element.label}, ...]", wire, element.simple)
        self.element = element

    def coerce(self, value: Any) -> tuple[Any, ...]:
        """Return a tuple of coerced elements."""
        _check_tuple(value)
        done = self.element.coerce_all(value, set(map(type, value)))
        return _each(repeat(self.element.coerce), value) if done is None else tuple(done)

    def given(self, value: Any) -> Any:
        """Return a list as a tuple."""
        return as_tuples(value)

    def pack(self, value: Any) -> Any:
        """Return the elements packed."""
        return value if self.simple else tuple(map(self.element.pack, value))

    def unpack(self, packed: Any) -> Any:
        """Return the elements unpacked."""
        return packed if self.simple else tuple(map(self.element.unpack, packed))


class Fixed(Packed):
    """``tuple[X, Y]``, and ``tuple[()]``."""

    def __init__(self, elements: Sequence[Codec[Any]]) -> None:
        label = f"tuple[{', '.join(element.label for element in elements) or '()'}]"
        wire = GenericAlias(tuple, tuple(element.wire for element in elements))
        super().__init__(label, wire, all(element.simple for element in elements))
        self.elements = elements

    def coerce(self, value: Any) -> tuple[Any, ...]:
        """Return a tuple of as many coerced elements."""
        _check_tuple(value)
        if len(value) != len(self.elements):
            raise misfit(value, f"has {len(value)} elements, and {self.label} {len(self.elements)}")
        return _each([element.coerce for element in self.elements], value)

    def given(self, value: Any) -> Any:
        """Return a list as a tuple."""
        return as_tuples(value)

    def pack(self, value: Any) -> Any:
        """Return the elements packed."""
        if self.simple:
            return value
        return tuple([codec.pack(v) for codec, v in zip(self.elements, value, strict=True)])

    def unpack(self, packed: Any) -> Any:
        """Return the elements unpacked."""
        if self.simple:
            return packed
        return tuple([codec.unpack(v) for codec, v in zip(self.elements, packed, strict=True)])


class Record(Packed):
    """A frozen dataclass: the values of its fields, in their order.

    It is put together without its ``__init__`` and ``__post_init__``, as copying does: the value
    was made by them once, and comes back as it was.
    """

    def __init__(self, cls: type[Any], members: Mapping[str, Codec[Any]]) -> None:
        self.cls, self.names = cls, tuple(members)
        self.members = Fixed(list(members.values()))
        super().__init__(cls.__name__, self.members.wire, simple=False)

    def coerce(self, value: Any) -> Any:
        """Return an instance of this very class, its members coerced."""
        if type(value) is not self.cls:
            other = isinstance(value, self.cls)
            cure = ", but of a subclass, which would not come back; declare that" if other else ""
            raise misfit(value, f"is no {self.label}{cure}")
        try:
            old = [getattr(value, name) for name in self.names]
        except AttributeError as error:
            raise misfit(value, f"is not complete: {error}") from None
        new = []
        for name, codec, member in zip(self.names, self.members.elements, old, strict=True):
            try:
                new.append(codec.coerce(member))
            except FieldError as error:
                raise inside(f".{name}", error) from None
        return value if all(map(is_, old, new)) else self._make(new)

    def owns(self, value: Any) -> bool:
        """Return whether it is an instance of this very class."""
        return type(value) is self.cls

    def pack(self, value: Any) -> Any:
        """Return the members packed."""
        return self.members.pack([getattr(value, name) for name in self.names])

    def unpack(self, packed: Any) -> Any:
        """Return an instance."""
        return self._make(self.members.unpack(packed))

    def _make(self, values: Sequence[Any]) -> Any:
        made, put = object.__new__(self.cls), object.__setattr__
        for name, value in zip(self.names, values, strict=True):
            put(made, name, value)
        return made


class Maybe(Packed):
    """``X | None``, where it is part of another type."""

    def __init__(self, inner: Codec[Any]) -> None:
        super().__init__(f"{inner.label} | None", Optional[inner.wire], inner.simple)  # noqa: UP045
        self.inner = inner

    def coerce(self, value: Any) -> Any:
        """Return None, or what it may be else."""
        return None if value is None else self.inner.coerce(value)

    def pack(self, value: Any) -> Any:
        """Return None, or what it may be else, packed."""
        return None if value is None else self.inner.pack(value)

    def unpack(self, packed: Any) -> Any:
        """Return None, or what it may be else, unpacked."""
        return None if packed is None else self.inner.unpack(packed)


class Either(Packed):
    """``X | Y``: which of them it is, and the value as msgpack of its own.

    A value goes to the type that is its very own, else to the first that takes it.
    """

    def __init__(self, branches: Sequence[Codec[Any]]) -> None:
        label = " | ".join(branch.label for branch in branches)
        super().__init__(label, tuple[int, msgspec.Raw], simple=False)
        self.branches = branches

    def coerce(self, value: Any) -> Any:
        """Return the value as one of the types."""
        return self._choose(value)[1]

    def pack(self, value: Any) -> Any:
        """Return the position of the type, and the value as msgpack."""
        at, value = self._choose(value)
        return at, msgspec.Raw(self.branches[at].encode(value))

    def unpack(self, packed: Any) -> Any:
        """Return the value as it was."""
        at, data = packed
        return self.branches[at].decode(data)

    def _choose(self, value: Any) -> tuple[int, Any]:
        """Return the position of the type that takes a value, and what it makes of it."""
        for at, branch in enumerate(self.branches):
            if branch.owns(value):
                return at, branch.coerce(value)
        for at, branch in enumerate(self.branches):
            try:
                return at, branch.coerce(value)
            except FieldError:
                continue
        raise misfit(value, f"is no {self.label}")


class Choice(Codec[Any]):
    """``Literal["a", "b"]``: kept as the type that its values have."""

    def __init__(self, base: Codec[Any], allowed: Sequence[Any]) -> None:
        shown = ", ".join(map(repr, allowed))
        super().__init__(f"Literal[{shown}]", base.wire, base.simple)
        self.base, self.shown = base, shown
        self.allowed = {(type(value), value) for value in allowed}  # True is not 1 here

    def coerce(self, value: Any) -> Any:
        """Return the value if it is one of those allowed."""
        found = self.base.coerce(value)
        if (type(found), found) not in self.allowed:
            raise misfit(value, f"is none of {self.shown}")
        return found

    def pack(self, value: Any) -> Any:
        """Return the value packed."""
        return self.base.pack(value)

    def unpack(self, packed: Any) -> Any:
        """Return the value unpacked."""
        return self.base.unpack(packed)

    def _column(self, values: Sequence[Any], mask: Mask) -> Any:
        return self.base._column(values, mask)

    def _values(self, column: Any) -> list[Any]:
        return self.base._values(column)

    def _item(self, column: Any, row: int) -> Any:
        return self.base._item(column, row)

    def _numpy(self, column: Any, optional: bool) -> NDArray[Any]:
        return self.base._numpy(column, optional)
