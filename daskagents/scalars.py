"""Codecs of single values: numbers, bools, texts, bytes, members of an Enum."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.codec import Codec, Types, misfit
from daskagents.columns import (
    Mask,
    Plain,
    Texts,
    compact_bytes,
    compact_strings,
    strings,
)

#: The ints that a column or a packed value can hold.
INT64 = range(-(2**63), 2**63)


_REAL = (float, int, np.floating, np.integer)
_INTEGER = (int, np.integer)
_BOOL = (bool, np.bool_)
#: No numbers, though Python or NumPy takes them for ints.
_ODD = (*_BOOL, np.timedelta64)


class Number(Codec[Plain]):
    """Floats, ints or bools: an array of them."""

    cheap = True
    #: Types of values that NumPy turns into this one as `coerce` does.
    takes: frozenset[type[Any]]

    def __init__(self, kind: type[Any], takes: Sequence[type[Any]]) -> None:
        super().__init__(kind.__name__, kind, simple=True)
        self.exact, self.takes = frozenset({kind}), frozenset({kind, *takes})
        self.dtype = np.dtype(kind)

    def coerce_all(self, values: Sequence[Any], types: Types) -> Sequence[Any] | None:
        """Return all values coerced at once, if NumPy can."""
        if not types <= self.takes:
            return None
        if types <= self.exact and self.dtype.kind != "i":  # only ints may be too large
            return values
        try:
            array = np.array(values, self.dtype)
        except OverflowError:
            return None
        found: Sequence[Any] = values if types <= self.exact else array.tolist()
        return found

    def numbers(self, values: Sequence[Any], types: Types, mask: Mask) -> Plain | None:
        """Return values of these types, None where `mask`, as a column; None if some are odd."""
        if not types <= self.takes:
            return None
        try:
            return self._column(values, mask)
        except OverflowError:
            return None

    @abstractmethod
    def convert(self, array: NDArray[Any]) -> NDArray[Any] | None:
        """Return a copy of an array of numbers as this type; None where values may not fit."""

    def _numpy(self, column: Plain, optional: bool) -> NDArray[Any]:
        """Return the values; as float64, NaN for None, where they are optional."""
        values = column.values.astype(np.float64) if optional else column.values
        return values if column.mask is None else np.where(column.mask, np.nan, values)

    def _column(self, values: Sequence[Any], mask: Mask) -> Plain:
        if mask is not None:
            values = [0 if value is None else value for value in values]
        return Plain(np.array(values, self.dtype), mask)

    def _values(self, column: Plain) -> list[Any]:
        found: list[Any] = column.values.tolist()
        return found

    def _item(self, column: Plain, row: int) -> Any:
        return column.values.item(row)


_SIGNED = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32)


class Float(Number):
    """float: float64."""

    def __init__(self) -> None:
        super().__init__(float, (int, np.float16, np.float32, np.float64, *_SIGNED))

    def coerce(self, value: Any) -> float:
        """Return a number, not a bool, as a float."""
        if type(value) is float:
            return value
        if not isinstance(value, _REAL) or isinstance(value, _ODD):
            raise misfit(value, "is no float")
        try:
            return float(value)
        except OverflowError:
            raise misfit(value, "is too large for a float") from None

    def convert(self, array: NDArray[Any]) -> NDArray[Any] | None:
        """Return floats and ints as float64."""
        return array.astype(np.float64) if array.dtype.kind in "fiu" else None


class Int(Number):
    """int: int64."""

    def __init__(self) -> None:
        super().__init__(int, _SIGNED)

    def coerce(self, value: Any) -> int:
        """Return an int, not a bool, of 64 bits."""
        if not isinstance(value, _INTEGER) or isinstance(value, _ODD):
            cure = "; use int(...)" if isinstance(value, float | np.floating | bool) else ""
            raise misfit(value, f"is no int{cure}")
        if int(value) not in INT64:
            raise misfit(value, "does not fit in 64 bits; use a float or a str")
        return int(value)

    def convert(self, array: NDArray[Any]) -> NDArray[Any] | None:
        """Return ints as int64."""
        if array.dtype.kind not in "iu" or (array.dtype == np.uint64 and (array >= 2**63).any()):
            return None
        return array.astype(np.int64)


class Bool(Number):
    """bool: one byte each."""

    def __init__(self) -> None:
        super().__init__(bool, (np.bool_,))

    def coerce(self, value: Any) -> bool:
        """Return a bool, of Python or NumPy."""
        if not isinstance(value, _BOOL):
            raise misfit(value, "is no bool")
        return bool(value)

    def convert(self, array: NDArray[Any]) -> NDArray[Any] | None:
        """Return bools as bool."""
        return array.astype(bool) if array.dtype.kind == "b" else None


class Text(Codec[Texts]):
    """str: UTF-8."""

    exact = frozenset({str})

    def __init__(self) -> None:
        super().__init__("str", str, simple=True)

    def coerce(self, value: Any) -> str:
        """Return a text as a plain str that can be written as UTF-8."""
        if not isinstance(value, str):
            raise misfit(value, "is no str")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise misfit(
                value,
                f"holds a lone surrogate at position {error.start}, which is no character and"
                " cannot be written as UTF-8; leave it out, or keep the raw bytes",
            ) from None
        return value if type(value) is str else str.__str__(value)

    def coerce_all(self, values: Sequence[Any], types: Types) -> Sequence[Any] | None:
        """Return the values if all are texts that can be written."""
        if not types <= self.exact:
            return None
        try:
            "".join(values).encode()
        except UnicodeEncodeError:
            return None
        return values

    def _numpy(self, column: Texts, optional: bool) -> NDArray[Any]:
        """Return an array of StringDType, ``""`` for None."""
        return strings(column)

    def _column(self, values: Sequence[Any], mask: Mask) -> Texts:
        return compact_strings(values if mask is None else [value or "" for value in values], mask)

    def _values(self, column: Texts) -> list[Any]:
        return column.texts()

    def _item(self, column: Texts, row: int) -> Any:
        return column.row(row).decode()


class Bytes(Codec[Texts]):
    """bytes, as they are."""

    exact = frozenset({bytes})

    def __init__(self) -> None:
        super().__init__("bytes", bytes, simple=True)

    def coerce(self, value: Any) -> bytes:
        """Return bytes, of Python or NumPy."""
        if not isinstance(value, bytes):
            cure = "; use bytes(...)" if isinstance(value, bytearray | memoryview) else ""
            raise misfit(value, f"is no bytes{cure}")
        return bytes(value)

    def coerce_all(self, values: Sequence[Any], types: Types) -> Sequence[Any] | None:
        """Return the values if all are bytes."""
        return values if types <= self.exact else None

    def _column(self, values: Sequence[Any], mask: Mask) -> Texts:
        return compact_bytes(values if mask is None else [value or b"" for value in values], mask)

    def _values(self, column: Texts) -> list[Any]:
        return column.rows()

    def _item(self, column: Texts, row: int) -> Any:
        return column.row(row)


class Members(Codec[Plain]):
    """The members of an Enum: their positions in the class, in the smallest unsigned ints."""

    def __init__(self, cls: type[Enum]) -> None:
        super().__init__(cls.__name__, int, simple=False)
        self.cls, self.members = cls, list(cls)
        self.dtype = np.min_scalar_type(len(self.members) - 1)
        # by name: the values of members need not be hashable
        self.codes = {member._name_: code for code, member in enumerate(self.members)}
        values = {m.value: code for code, m in enumerate(cls) if isinstance(m.value, str)}
        self.words = values | self.codes

    def coerce(self, value: Any) -> Enum:
        """Return a member."""
        if not isinstance(value, self.cls):
            raise misfit(value, f"is no {self.label} ({', '.join(self.codes)})")
        return value

    def given(self, value: Any) -> Any:
        """Return the member that a str names, or else is the value of."""
        if not isinstance(value, str) or isinstance(value, Enum) or value not in self.words:
            return value
        return self.members[self.words[value]]

    def owns(self, value: Any) -> bool:
        """Return whether it is a member, though members may be ints or strs too."""
        return isinstance(value, self.cls)

    def pack(self, value: Any) -> int:
        """Return the position of a member."""
        return self.codes[value._name_]

    def unpack(self, packed: int) -> Enum:
        """Return the member at a position."""
        return self.members[packed]

    def _numpy(self, column: Plain, optional: bool) -> NDArray[Any]:
        """Return the names of the members, of StringDType, ``""`` for None."""
        names = np.array(list(self.codes), np.dtypes.StringDType())
        found: NDArray[Any] = names[column.values]
        if column.mask is not None:
            found[column.mask] = ""
        return found

    def _column(self, values: Sequence[Any], mask: Mask) -> Plain:
        codes = [0 if value is None else self.pack(value) for value in values]
        return Plain(np.array(codes, self.dtype), mask)

    def _values(self, column: Plain) -> list[Any]:
        return [self.members[code] for code in column.values.tolist()]

    def _item(self, column: Plain, row: int) -> Any:
        return self.members[column.values.item(row)]
