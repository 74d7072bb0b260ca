"""Codecs: what values of one type are taken, and how they are kept in a column."""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from daskagents.columns import Column, Mask, Plain, Texts
from daskagents.errors import FieldError

C = TypeVar("C", Plain, Texts)
Types = set[type[Any]]

_encode = msgspec.msgpack.Encoder().encode
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60


def misfit(value: Any, complaint: str) -> FieldError:
    """Return an error on its way to a `Field`, which puts its three parts into words.

    The parts are where in the value it is wrong, what is there, and what is wrong with that.
    """
    return FieldError("", _repr.repr(value), complaint)


def inside(place: str, error: FieldError) -> FieldError:
    """Return a misfit of a member as a misfit of the value that holds it."""
    path, value, complaint = error.args
    return FieldError(place + path, value, complaint)


class Codec(ABC, Generic[C]):
    """One type of values: which it takes, what msgpack holds for one, how a column holds many.

    Attributes
    ----------
    label
        The type in words, as in an annotation.
    exact
        The Python types whose values need no coercion; empty where each must be looked at.
    cheap
        Whether a whole column is read as fast as one value.
    wire
        What msgpack is to give back for a value, as an annotation that msgspec knows.
    simple
        Whether that is the value itself, so that nothing is to be packed or unpacked.
    """

    exact: frozenset[type[Any]] = frozenset()
    cheap = False

    def __init__(self, label: str, wire: Any, simple: bool) -> None:
        self.label, self.wire, self.simple = label, wire, simple
        self._decode = msgspec.msgpack.Decoder(wire).decode

    @abstractmethod
    def coerce(self, value: Any) -> Any:
        """Return the value as this type, or raise a misfit."""

    def coerce_all(self, values: Sequence[Any], types: Types) -> Sequence[Any] | None:
        """Return all values coerced at once; None where each must be looked at.

        `types` are the types of the values.
        """
        return None

    def given(self, value: Any) -> Any:
        """Return the value that an entry of a user's table stands for."""
        return value

    def owns(self, value: Any) -> bool:
        """Return whether a value is of this very type, and of no other in a union."""
        return type(value) in self.exact

    def pack(self, value: Any) -> Any:
        """Return what stands for a value in msgpack."""
        return value

    def unpack(self, packed: Any) -> Any:
        """Return the value that msgpack gave back as `packed`."""
        return packed

    def encode(self, value: Any) -> bytes:
        """Return a value as msgpack."""
        return _encode(value if self.simple else self.pack(value))

    def decode(self, data: Any) -> Any:
        """Return the value that was encoded."""
        packed = self._decode(data)
        return packed if self.simple else self.unpack(packed)

    def column(self, values: Sequence[Any]) -> Column:
        """Return values that are coerced, or None, as a column."""
        if type(None) not in set(map(type, values)):
            return self._column(values, None)
        return self._column(values, np.array([value is None for value in values]))

    def tolist(self, column: Column) -> list[Any]:
        """Return the values of a column."""
        values = self._values(cast(C, column))
        if column.mask is not None:
            for row in np.flatnonzero(column.mask).tolist():
                values[row] = None
        return values

    def item(self, column: Column, row: int) -> Any:
        """Return one value of a column."""
        if column.mask is not None and column.mask[row]:
            return None
        return self._item(cast(C, column), row)

    def numpy(self, column: Column, optional: bool) -> NDArray[Any]:
        """Return a column as xarray takes it; `optional` is whether None is allowed in it."""
        return self._numpy(cast(C, column), optional)

    @abstractmethod
    def _column(self, values: Sequence[Any], mask: Mask) -> C:
        """Return a column; the values are None where the mask is True."""

    @abstractmethod
    def _values(self, column: C) -> list[Any]:
        """Return the values, anything where the mask is True."""

    @abstractmethod
    def _item(self, column: C, row: int) -> Any:
        """Return one value, which is not None."""

    def _numpy(self, column: C, optional: bool) -> NDArray[Any]:
        """Return the values as an array of Python objects."""
        return np.fromiter(self.tolist(column), object, len(column))
