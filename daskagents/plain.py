"""Plain columns: numbers or bools; and what every kind of column is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import UsageError

#: Positions in a column: a slice, positions, or a mask.
Rows = slice | NDArray[Any]
Mask = NDArray[np.bool_] | None


class Kind(ABC):
    """A kind of column: arrays that become read-only, so that versions of a block share them."""

    __slots__ = ()

    @property
    @abstractmethod
    def mask(self) -> Mask:
        """Which values are None; bool, of shape (n,)."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What is kept, in words."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name."""

    @abstractmethod
    def take(self, rows: Rows) -> Kind:
        """Return some rows."""

    @abstractmethod
    def put(self, rows: NDArray[np.int64], other: Kind) -> Kind:
        """Return a column with these rows (positions from 0) replaced by all of `other`."""

    def __post_init__(self) -> None:
        for array in self.arrays().values():
            array.flags.writeable = False

    def __reduce__(self) -> tuple[Any, ...]:
        parts: Any = fields(self)  # type: ignore[arg-type] # each kind is a dataclass
        return type(self), tuple(getattr(self, part.name) for part in parts)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def put_mask(self, rows: NDArray[np.int64], other: Kind) -> Mask:
        """Return the mask after `rows` became those of `other`."""
        if self.mask is None and other.mask is None:
            return None
        mask = np.zeros(len(self), bool) if self.mask is None else self.mask.copy()
        mask[rows] = False if other.mask is None else other.mask
        return mask

    def unlike(self, other: Kind) -> UsageError:
        """Return the error that another column is of another field."""
        return UsageError(f"a column of {self.label} and one of {other.label} are not of one field")


@dataclass(frozen=True, slots=True, eq=False)
class Plain(Kind):
    """Numbers or bools, and which of them are None.

    Parameters
    ----------
    values
        float64, int64, bool or, for members of an Enum, an unsigned int, of shape (n,); anything
        where `mask` is True.
    mask
        bool, of shape (n,), True where the value is None; by default there is no None.

    Examples
    --------
    >>> column = Plain(np.array([1.0, 2.0, 3.0]))
    >>> column.put(np.array([1]), Plain(np.array([9.0]))).values
    array([1., 9., 3.])
    """

    values: NDArray[Any]
    mask: Mask = None

    @property
    def label(self) -> str:
        """The dtype."""
        return str(self.values.dtype)

    def __len__(self) -> int:
        return len(self.values)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name: ``values``, and ``mask`` where there is one."""
        return {"values": self.values} | ({} if self.mask is None else {"mask": self.mask})

    def take(self, rows: Rows) -> Plain:
        """Return some rows; a slice shares the arrays."""
        return Plain(self.values[rows], None if self.mask is None else self.mask[rows])

    def put(self, rows: NDArray[np.int64], other: Kind) -> Plain:
        """Return a column with these rows (positions from 0) replaced by all of `other`."""
        if not isinstance(other, Plain) or not self.is_like(other):
            raise self.unlike(other)
        if not len(rows):
            return self
        values = self.values.astype(np.result_type(self.values, other.values))
        values[rows] = other.values
        return Plain(values, self.put_mask(rows, other))

    def is_like(self, other: Plain) -> bool:
        """Whether another can be of the same field: positions in an Enum are ints of any size."""
        one, two = self.values.dtype, other.values.dtype
        return one == two or (one.kind in "iu" and two.kind in "iu" and "u" in one.kind + two.kind)
