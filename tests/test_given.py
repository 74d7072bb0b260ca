"""Columns as users give them: lists, arrays, pandas and xarray become columns of a field."""

from __future__ import annotations

import enum
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from daskagents.columns import Plain
from daskagents.errors import TableError
from daskagents.fields import make_field
from daskagents.given import read_given

NAN, NA = float("nan"), pd.NA
STRING = np.dtypes.StringDType()


class Edu(enum.Enum):
    SCHOOL = "school"
    PHD = "phd"


class Crossed(enum.Enum):
    A = "B"
    B = "A"


def series(values: Any, dtype: Any = None) -> Any:
    return pd.Series(values, dtype=dtype, index=range(7, 7 + len(values)))


@pytest.mark.parametrize(
    ("annotation", "given_values", "expected"),
    [
        (float, [1, 2.5], [1.0, 2.5]),
        (float, (1.0, np.float32(2)), [1.0, 2.0]),
        (float, np.array([1, 2], np.int8), [1.0, 2.0]),
        (float, np.array([1, 2], np.uint64), [1.0, 2.0]),
        (float, np.array([0.5, NAN], np.float16), [0.5, NAN]),
        (float, np.array([0.5, 2], ">f8"), [0.5, 2.0]),
        (float, np.array([1, 2.5], object), [1.0, 2.5]),
        (float, np.ma.array([1.0, 2.0]), [1.0, 2.0]),
        (float, range(2), [0.0, 1.0]),
        (float, xr.DataArray([1.0, 2.0], dims="agent"), [1.0, 2.0]),
        (float, xr.DataArray([1.0, 2.0], dims="agent").chunk(1), [1.0, 2.0]),
        (float, series([1.0, NAN]), [1.0, NAN]),
        (float, series([1, 2], "Int64"), [1.0, 2.0]),
        (float, series([1, 2], "category"), [1.0, 2.0]),
        (float, pd.Index([1.5, 2]), [1.5, 2.0]),
        (float | None, [1, None, NAN], [1.0, None, NAN]),
        (float | None, np.array([1.0, NAN]), [1.0, NAN]),
        (float | None, np.array([1, None, NAN], object), [1.0, None, NAN]),
        (float | None, series([1.0, NAN]), [1.0, NAN]),
        (float | None, series([1, None], "Float64"), [1.0, None]),
        (float | None, series([1, NA], object), [1.0, None]),
        (float | None, np.ma.array([1.0, 2.0], mask=[True, False]), [None, 2.0]),
        (int, [1, np.int8(2)], [1, 2]),
        (int, np.array([1, 2], np.uint8), [1, 2]),
        (int, np.array([1, 2**63 - 1], np.uint64), [1, 2**63 - 1]),
        (int, series([1, 2]), [1, 2]),
        (int, series([1, 2], "Int64"), [1, 2]),
        (int | None, series([1, None], "Int64"), [1, None]),
        (int | None, series([1, None], "category"), [1, None]),
        (int | None, np.array([1, NAN], object), [1, None]),
        (int | None, [1, NA, pd.NaT], [1, None, None]),
        (bool, np.array([True, False]), [True, False]),
        (bool, [True, np.False_], [True, False]),
        (bool | None, series([True, None], "boolean"), [True, None]),
        (str, ["a", np.str_("b")], ["a", "b"]),
        (str, np.array(["a", "bé"]), ["a", "bé"]),
        (str, np.array(["a", "bé"], STRING), ["a", "bé"]),
        (str, np.array(["a", "b"], object), ["a", "b"]),
        (str, series(["a", "b"]), ["a", "b"]),
        (str, series(["a", "b"], object), ["a", "b"]),
        (str, series(["a", "b"], "string"), ["a", "b"]),
        (str, series(["a", "b"], "category"), ["a", "b"]),
        (str, xr.DataArray(["a", "b"], dims="agent"), ["a", "b"]),
        (str | None, series(["a", None]), ["a", None]),
        (str | None, series(["a", None, NAN], object), ["a", None, None]),
        (str | None, series(["a", None], "string"), ["a", None]),
        (str | None, series(["a", None], "category"), ["a", None]),
        (str | None, np.array(["a", None], np.dtypes.StringDType(na_object=None)), ["a", None]),
        (bytes, np.array([b"a", b"bc"]), [b"a", b"bc"]),
        (bytes, [b"a\0", b""], [b"a\0", b""]),
        (Edu, [Edu.PHD, "SCHOOL", "phd"], [Edu.PHD, Edu.SCHOOL, Edu.PHD]),
        (Edu, np.array(["PHD", "PHD"]), [Edu.PHD, Edu.PHD]),
        (Edu | None, series(["school", None], "category"), [Edu.SCHOOL, None]),
        (Crossed, ["A", "B"], [Crossed.A, Crossed.B]),
        (Literal["a", "b"], np.array(["a", "b"]), ["a", "b"]),
        (Literal[1, 2], np.array([2, 1]), [2, 1]),
        (tuple[str, ...], [["a"], ()], [("a",), ()]),
        (tuple[float, ...], np.array([[1, 2], [3, 4]]), [(1.0, 2.0), (3.0, 4.0)]),
        (tuple, [[1, [2]], (3, [4])], [(1, (2,)), (3, (4,))]),
        (tuple[int, str] | None, series([[1, "a"], None]), [(1, "a"), None]),
        (int | str, [1, "a"], [1, "a"]),
        (Any, [1, None, NAN], [1, None, NAN]),
        (float, [], []),
        (str, np.array([]), []),
        (int, np.array([]), []),
    ],
    ids=repr,
)
def test_sources(annotation: Any, given_values: Any, expected: list[Any]) -> None:
    made = make_field("Player", "x", annotation)
    found = made.tolist(made.from_array(given_values, len(expected)))
    assert repr(found) == repr(expected)


@pytest.mark.parametrize(
    ("annotation", "given_values", "said"),
    [
        (int, [3] * 17 + ["x"], "column 'age' of Player: row 17 holds 'x', which is no int"),
        (int, np.array([1.0, 2.0]), "row 0 holds 1.0, which is no int; use int(...)"),
        (int, np.array([1, 2**63], np.uint64), "row 1 holds 9223372036854775808, which does not"),
        (int, np.array([True]), "row 0 holds True, which is no int"),
        (int, [1, None], "row 1 holds None, which is no int; declare age: int | None"),
        (int, series([1, None], "Int64"), "row 1 holds None, which is no int; declare age: int"),
        (int | None, series([1.0, NAN]), "row 0 holds 1.0, which is no int"),
        (float, np.array([True]), "row 0 holds True, which is no float"),
        (float, ["1.5"], "row 0 holds '1.5', which is no float"),
        (float, series([1, None], "Float64"), "row 1 holds None, which is no float"),
        (float, [1.0, 10**400], "which is too large for a float"),
        (float, [1.0, NA], "row 1 holds <NA>, which is no float"),
        (bool, np.array([0, 1]), "row 0 holds 0, which is no bool"),
        (str, [1], "row 0 holds 1, which is no str"),
        (str, series(["a", None]), "row 1 holds None, which is no str; declare age: str | None"),
        (str, np.array(["a", NAN], object), "row 1 holds nan, which is no str"),
        (str, ["a", "\ud800"], "row 1 holds '\\ud800', which holds a lone surrogate"),
        (Edu, ["BA"], "row 0 holds 'BA', which is no Edu (SCHOOL, PHD)"),
        (Literal["a"], ["a", "b"], "row 1 holds 'b', which is none of 'a'"),
        (tuple[int, ...], [[1], [2, "x"]], "row 1, at [1], holds 'x', which is no int"),
        (float, np.array([[1.0], [2.0]]), "row 0 holds [1.0], which is no float"),
        (float, 3.0, "column 'age' of Player is one value, not a column"),
        (str, "abc", "column 'age' of Player is one value, not a column"),
        (int, series(pd.to_datetime(["2020-01-01"])), "is of datetime64["),
        (int, np.array([3], "m8[D]"), "is of timedelta64[D], and the field is int"),
        (float, np.array([1j]), "is of complex128, and the field is float"),
    ],
    ids=repr,
)
def test_what_does_not_fit(annotation: Any, given_values: Any, said: str) -> None:
    made = make_field("Player", "age", annotation)
    with pytest.raises(TableError) as caught:
        made.from_array(given_values)
    assert str(caught.value).startswith("column 'age' of Player")
    assert said in str(caught.value)


def test_another_number_of_rows() -> None:
    with pytest.raises(TableError, match="column 'x' of Player has 2 rows, and there are 3 agents"):
        make_field("Player", "x", int).from_array([1, 2], 3)


@pytest.mark.parametrize(
    "values", [np.arange(3.0), np.arange(3), np.arange(3) > 1, np.arange(3.0)[::-1]]
)
def test_the_users_array_stays_his(values: np.ndarray[Any, Any]) -> None:
    kind = {"f": float, "i": int, "b": bool}[values.dtype.kind]
    column = make_field("Player", "x", kind).from_array(values)
    assert isinstance(column, Plain)
    assert not np.shares_memory(column.values, values)
    assert values.flags.writeable
    before = column.values.tolist()
    values[:] = values[0]
    assert column.values.tolist() == before


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.text("aé😀\0")))
def test_lists_come_back(values: list[Any]) -> None:
    made = make_field("Player", "x", int | str | None)
    assert made.tolist(made.from_array(values)) == values
    assert made.tolist(made.from_array(np.fromiter(values, object))) == values
    assert read_given(values) == values
