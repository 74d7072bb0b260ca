"""Fields: what an agent class declares, and its values as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from types import NoneType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from daskagents.annotations import read_annotation
from daskagents.codec import Codec
from daskagents.columns import Column, Plain, repeat
from daskagents.errors import FieldError, TableError
from daskagents.given import is_missing, read_given
from daskagents.packed import Maybe
from daskagents.scalars import Number, Text


class _Missing(Enum):
    """The type of `MISSING`; a member of an Enum stays the same one when it is sent."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return self.name


#: The default of a field that has none.
MISSING = _Missing.MISSING


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a population: its name, its type, and its values as arrays and back.

    Made by `make_field`, which checks it.

    Parameters
    ----------
    name, owner
        The name of the field, and of the class that declares it.
    type
        Its annotation.
    default
        A value of this type, or `MISSING`.

    Examples
    --------
    >>> age = make_field("Player", "age", int | None, None)
    >>> column = age.column([3, None])
    >>> age.tolist(column), age.item(column, 0), age.numpy(column)
    ([3, None], 3, array([ 3., nan]))
    """

    name: str
    owner: str
    type: Any
    default: Any = MISSING
    _made: list[Codec[Any]] = field(default_factory=list, init=False, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Field, (self.name, self.owner, self.type, self.default)

    def _make(self) -> list[Codec[Any]]:
        """Make the codecs; on first use, as what is unpickled may still wait for its classes."""
        whole = read_annotation(f"{self.owner}.{self.name}", self.type)
        self._made[:] = whole, whole.inner if isinstance(whole, Maybe) else whole
        return self._made

    @property
    def _whole(self) -> Codec[Any]:
        """The codec of all values."""
        return (self._made or self._make())[0]

    @property
    def _codec(self) -> Codec[Any]:
        """The codec of values that are not None."""
        return (self._made or self._make())[1]

    @property
    def label(self) -> str:
        """The type in words, such as ``int | None``."""
        return self._whole.label

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is MISSING

    @property
    def optional(self) -> bool:
        """Whether None is allowed beside the type."""
        return isinstance(self._whole, Maybe)

    @property
    def cheap(self) -> bool:
        """Whether a whole column is read as fast as one value: numbers and bools."""
        return self._codec.cheap

    @property
    def exact(self) -> frozenset[type[Any]]:
        """The Python types that need no coercion; empty where each value must be looked at."""
        exact = self._codec.exact
        return exact | {NoneType} if exact and self.optional else exact

    def coerce(self, value: Any) -> Any:
        """Return a value as one of this field.

        Raises
        ------
        FieldError
            If it does not fit, with the class, the field and the value.

        Examples
        --------
        >>> make_field("Player", "age", int).coerce(np.int8(3))
        3
        >>> make_field("Player", "age", int).coerce("ten")
        Traceback (most recent call last):
            ...
        daskagents.errors.FieldError: Player.age: 'ten' is no int
        """
        try:
            return self._whole.coerce(value)
        except FieldError as error:
            raise self._words(value, error) from None

    def _words(self, value: Any, error: FieldError) -> FieldError:
        """Return a misfit as an error that says all."""
        path, shown, complaint = error.args
        said = f"{shown} {complaint}{self._cure(value)}"
        return FieldError(f"{self.owner}.{self.name}{path}: {said}")

    def _cure(self, value: Any) -> str:
        """Say what to do about None where it is not allowed."""
        return f"; declare {self.name}: {self.label} | None" if value is None else ""

    def bulk(self, values: Sequence[Any]) -> tuple[list[Any], dict[int, FieldError]]:
        """Coerce many values.

        Returns
        -------
        values, errors
            All values, coerced where they fit; and the errors of the others by position.
        """
        done = self._all_at_once(values)
        if done is not None:
            return done, {}
        done, errors = list(values), {}
        for at, value in enumerate(values):
            try:
                done[at] = self.coerce(value)
            except FieldError as error:
                errors[at] = error
        return done, errors

    def _all_at_once(self, values: Sequence[Any]) -> list[Any] | None:
        """Return all values coerced, if none must be looked at."""
        types = set(map(type, values))
        if NoneType not in types or not self.optional:
            done = self._codec.coerce_all(values, types)
            return done if done is None or isinstance(done, list) else list(done)
        present = [value for value in values if value is not None]
        types.discard(NoneType)
        if types <= self.exact and self._codec.coerce_all(present, types) is not None:
            return list(values)
        return None

    def column(self, values: Sequence[Any]) -> Column:
        """Return values of this field, already coerced, as a column."""
        return self._codec.column(values)

    def numbers(self, values: Sequence[Any]) -> Column | None:
        """Return numbers or bools as a column all at once; None if some must be looked at."""
        types = set(map(type, values))
        mask = None
        if self.optional and NoneType in types:
            types.discard(NoneType)
            mask = np.array([value is None for value in values])
        codec = self._codec
        return codec.numbers(values, types, mask) if isinstance(codec, Number) else None

    def tolist(self, column: Column) -> list[Any]:
        """Return all values of a column, as Python objects."""
        with self._reading():
            return self._codec.tolist(column)

    def item(self, column: Column, row: int) -> Any:
        """Return one value of a column, as a Python object."""
        try:
            return self._codec.item(column, row)
        except _UNREADABLE as error:
            raise self._unreadable(error) from error

    def full(self, n: int) -> Column:
        """Return a column of `n` times the default."""
        if self.required:
            raise FieldError(f"{self.owner}.{self.name} has no default")
        return repeat(self.column([self.default]), n)

    def numpy(self, column: Column) -> NDArray[Any]:
        """Return a column as one array, shape (n,), for xarray.

        Returns
        -------
        ndarray
            float64, int64 or bool for these; float64, with NaN for None, where they are optional.
            StringDType for str, ``""`` for None, and for an Enum the names of its members. Else
            the values as Python objects.
        """
        with self._reading():
            return self._codec.numpy(column, self.optional)

    def array(self, column: Column) -> NDArray[Any]:
        """Return a column as `reply_block` sees it, shape (n,); the array may be the column's own.

        Returns
        -------
        ndarray
            float64, int64 or bool; float64, with NaN for None, where these are optional.
            StringDType for str. Else the values as Python objects.
        """
        if isinstance(self._codec, Number) or (isinstance(self._codec, Text) and not self.optional):
            return self.numpy(column)
        return np.fromiter(self.tolist(column), object, len(column))

    def assigned(self, value: Any, n: int) -> Column:
        """Return what `reply_block` assigned to this field as a column.

        Parameters
        ----------
        value
            An array or list of `n` values, as `array` returns them; or one value for all.
        n
            Agents.

        Raises
        ------
        FieldError, TableError
            If one does not fit, or there are more or fewer than `n`.
        """
        if not isinstance(value, list) and not getattr(value, "ndim", 0):
            one = value.item() if isinstance(value, np.ndarray) else value
            return repeat(self.column([self.coerce(one)]), n)
        array = np.asarray(value) if isinstance(self._codec, Number) else value
        if self.optional and isinstance(self._codec, Number) and array.dtype.kind == "f":
            missing = np.isnan(array)
            values = np.where(missing, 0.0, array).astype(self._codec.dtype)
            if array.shape == (n,) and (values[~missing] == array[~missing]).all():
                return Plain(values, missing if missing.any() else None)
        return self.from_array(array, n)

    def from_array(self, values: Any, n: int | None = None) -> Column:
        """Return a user's column as one of this field.

        Parameters
        ----------
        values
            A list, tuple, ndarray, pandas Series or xr.DataArray of one dimension. Missing values
            of pandas become None where the field takes None. A tuple may be given as a list, a
            member of an Enum by its name or its str value.
        n
            How many values there should be.

        Raises
        ------
        TableError
            If they are of another number, or one does not fit; with its row.

        Examples
        --------
        >>> age = make_field("Player", "age", int)
        >>> age.from_array(np.array([3, 4], np.int8)).values
        array([3, 4])
        >>> age.from_array([3, "x"])
        Traceback (most recent call last):
            ...
        daskagents.errors.TableError: column 'age' of Player: row 1 holds 'x', which is no int
        """
        found, what = read_given(values), f"column {self.name!r} of {self.owner}"
        if isinstance(found, np.ndarray):
            if found.ndim == 0:
                raise TableError(f"{what} is one value, not a column; give one value per agent")
            if found.dtype.kind not in "biufSUTO":
                raise TableError(f"{what} is of {found.dtype}, and the field is {self.label}")
        if n is not None and len(found) != n:
            raise TableError(f"{what} has {len(found)} rows, and there are {n} agents")
        if isinstance(found, np.ndarray):
            if isinstance(self._codec, Number) and found.ndim == 1:
                numbers = self._codec.convert(found)
                if numbers is not None:
                    return Plain(numbers)
            found = found.tolist()
        return self.column(self._read_list(found, what))

    def _read_list(self, values: list[Any], what: str) -> list[Any]:
        """Return the entries of a user's column as values of this field."""
        done = self._all_at_once(values)
        if done is not None:
            return done
        done = []
        for row, value in enumerate(values):
            try:
                done.append(self._read_entry(value))
            except FieldError as error:
                path, shown, complaint = error.args
                place = f"row {row}" + (f", at {path}," if path else "")
                raise TableError(
                    f"{what}: {place} holds {shown}, which {complaint}{self._cure(value)}"
                ) from None
        return done

    def _read_entry(self, value: Any) -> Any:
        """Return one entry as a value; None for a missing one, where it is nothing else."""
        try:
            return self._whole.coerce(self._codec.given(value))
        except FieldError:
            if self.optional and is_missing(value):
                return None
            raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Say which field it is whose column cannot be read."""
        try:
            yield
        except _UNREADABLE as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> FieldError:
        return FieldError(
            f"{self.owner}.{self.name}: its column holds no {self.label} ({error}); it was written"
            " for another version of the class"
        )


#: What reading a column raises that was written for another type.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, AttributeError, IndexError)


def make_field(owner: str, name: str, annotation: Any, default: Any = MISSING) -> Field:
    """Return the field that a class declares, or say why it cannot.

    Parameters
    ----------
    owner, name
        The name of the class, and of the field.
    annotation
        float, int, bool, str, bytes, tuple, ``tuple[...]``, an Enum, a Literal, a frozen dataclass
        of these, or a union of these and None; not as text.
    default
        A value of this type; a field without one is required.

    Raises
    ------
    FieldError
        If the type is mutable or unknown, or the default does not fit.

    Examples
    --------
    >>> make_field("Player", "friends", tuple[str, ...], ()).label
    'tuple[str, ...]'
    >>> make_field("Player", "age", int, "ten")
    Traceback (most recent call last):
        ...
    daskagents.errors.FieldError: Player.age: the default 'ten' is no int
    """
    made = Field(name, owner, annotation)
    whole = made._whole
    if default is MISSING:
        return made
    try:
        return Field(name, owner, annotation, whole.coerce(default))
    except FieldError as error:
        path, shown, complaint = error.args
        raise FieldError(
            f"{owner}.{name}: the default {shown}{f' at {path}' if path else ''} {complaint}"
            f"{made._cure(default)}"
        ) from None


def has(values: NDArray[Any], among: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values are among some."""
    if values.dtype == object:
        some = among.tolist()
        return np.fromiter((item in some for item in values), bool, len(values))
    found: NDArray[np.bool_] = np.isin(values, among)
    if values.dtype.kind == "f" and np.isnan(among).any():
        found |= np.isnan(values)
    return found
