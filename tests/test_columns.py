"""Columns: what is taken, replaced, joined, sent and written comes back as it was."""

from __future__ import annotations

import json
import pickle
import re
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskagents.columns import (
    Column,
    Plain,
    Ragged,
    concat,
    dump,
    from_arrays,
    load,
    ragged_bytes,
    ragged_strings,
    repeat,
    strings,
)
from daskagents.errors import FolderError, UsageError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NONE = st.none()


def plain(values: list[int | None]) -> Plain:
    mask = np.array([value is None for value in values], bool)
    numbers = np.array([value or 0 for value in values], np.int64)
    return Plain(numbers, mask if mask.any() else None)


def ragged(values: list[str | None]) -> Ragged:
    mask = np.array([value is None for value in values], bool)
    return ragged_strings([value or "" for value in values], mask if mask.any() else None)


def listed(column: Column) -> list[Any]:
    values = column.values.tolist() if isinstance(column, Plain) else column.texts()
    mask = [False] * len(column) if column.mask is None else column.mask.tolist()
    assert len(mask) == len(values)
    return [None if none else value for value, none in zip(values, mask, strict=True)]


#: How a list becomes a column, and lists of such values.
KINDS = st.sampled_from(
    [
        (plain, st.lists(NONE | st.integers(-(2**63), 2**63 - 1), max_size=12)),
        (ragged, st.lists(NONE | TEXTS, max_size=12)),
    ]
)


@given(st.data(), KINDS)
def test_take_is_as_of_a_list(data: st.DataObject, kind: Any) -> None:
    make, lists = kind
    model = data.draw(lists)
    column = make(model)
    cut = data.draw(st.slices(len(model)))
    assert listed(column.take(cut)) == model[cut]
    rows = data.draw(st.lists(st.sampled_from(range(len(model))))) if model else []
    assert listed(column.take(np.array(rows, np.int64))) == [model[row] for row in rows]
    mask = data.draw(st.lists(st.booleans(), min_size=len(model), max_size=len(model)))
    chosen = [value for value, taken in zip(model, mask, strict=True) if taken]
    assert listed(column.take(np.array(mask, bool))) == chosen
    assert listed(column) == model


@given(st.data(), KINDS)
def test_put_is_as_of_a_list(data: st.DataObject, kind: Any) -> None:
    make, lists = kind
    model = data.draw(lists)
    other = data.draw(lists) if model else []
    rows = [data.draw(st.sampled_from(range(len(model)))) for _ in other]
    column = make(model)
    changed = column.put(np.array(rows, np.int64), make(other))
    assert listed(column) == model, "a version is never changed"
    for row, value in zip(rows, other, strict=True):  # of a row that comes twice, the last stays
        model[row] = value
    assert listed(changed) == model
    assert listed(from_arrays(changed.arrays())) == model


@given(st.data(), KINDS)
def test_concat_and_repeat_are_as_of_lists(data: st.DataObject, kind: Any) -> None:
    make, lists = kind
    models = data.draw(st.lists(lists, min_size=1, max_size=4))
    assert listed(concat([make(model) for model in models])) == list(chain.from_iterable(models))
    one = data.draw(lists.filter(bool))[:1]
    n = data.draw(st.integers(0, 9))
    assert listed(repeat(make(one), n)) == one * n


@given(st.data(), KINDS)
def test_arrays_and_pickles_come_back(data: st.DataObject, kind: Any) -> None:
    make, lists = kind
    model = data.draw(lists)
    column = make(model).take(data.draw(st.slices(len(model))))
    for found in (from_arrays(column.arrays()), pickle.loads(pickle.dumps(column))):
        assert type(found) is type(column)
        assert listed(found) == listed(column)
        assert found.nbytes == column.nbytes
        assert not any(array.flags.writeable for array in found.arrays().values())


@given(st.lists(TEXTS))
def test_strings_come_back(model: list[str]) -> None:
    column = ragged_strings(model)
    found = strings(column)
    assert found.dtype == np.dtypes.StringDType()
    assert found.tolist() == column.texts() == model
    assert [column.row(row).decode() for row in range(len(model))] == model
    assert column.rows() == [value.encode() for value in model]


@pytest.mark.parametrize("value", ["x" * 2**20, "😀" * 1000, "\0", "a\0", "", "é\n"])
def test_odd_texts_come_back(value: str) -> None:
    assert strings(ragged_strings(["a", value, "é", value])).tolist() == ["a", value, "é", value]


@pytest.mark.parametrize("make", [plain, ragged])
def test_every_slice_is_as_of_a_list(make: Any) -> None:
    model = [None, 7, 0, -3] if make is plain else ["ab", None, "", "é"]
    column = make(model)
    for start in range(5):
        for stop in range(5):
            part = column.take(slice(start, stop))
            assert listed(part) == model[start:stop]
            assert listed(from_arrays(part.arrays())) == model[start:stop]


def test_a_lone_surrogate_is_no_text() -> None:
    with pytest.raises(UnicodeEncodeError):
        ragged_strings(["a", "\ud800"])


def test_what_does_not_change_is_shared() -> None:
    column = ragged_strings(["a", "b", "c"], np.array([False, True, False]))
    assert column.put(np.array([], np.int64), ragged_strings([])) is column
    assert np.shares_memory(column.take(slice(1, 3)).data, column.data)
    numbers = Plain(np.arange(5))
    assert numbers.put(np.array([], np.int64), Plain(np.arange(0))) is numbers
    assert np.shares_memory(numbers.take(slice(1, 3)).values, numbers.values)


def test_arrays_cannot_be_written_to() -> None:
    column = plain([1, None])
    for array in column.arrays().values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_sizes_are_those_of_the_arrays() -> None:
    assert Plain(np.zeros(10)).nbytes == 80
    assert Plain(np.zeros(10), np.zeros(10, bool)).nbytes == 90
    assert ragged_bytes([b"abc", b""]).nbytes == 3 * 8 + 3
    assert repeat(ragged_bytes([b"abc"]), 1000).nbytes == 1000 + 2 * 8 + 3


def test_columns_of_two_fields_are_not_mixed() -> None:
    floats, ints, words = Plain(np.zeros(1)), Plain(np.zeros(1, np.int64)), ragged_strings(["a"])
    row = np.array([0])
    for one, other, said in (
        (floats, ints, "float64 and one of int64"),
        (floats, words, "float64 and one of texts"),
        (words, ints, "texts and one of int64"),
    ):
        with pytest.raises(UsageError, match=said):
            one.put(row, other)
        with pytest.raises(UsageError, match=said):
            concat([one, one, other])


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"values": np.arange(3), "mask": np.zeros(2, bool)},
        {"offsets": np.arange(3)},
        {"offsets": np.array([], np.int64), "data": np.zeros(0, np.uint8)},
        {"offsets": np.array([0, 2, 1]), "data": np.zeros(1, np.uint8)},
        {"offsets": np.array([0, 2]), "data": np.zeros(1, np.uint8)},
        {"offsets": np.array([1, 2]), "data": np.zeros(2, np.uint8)},
        {
            "offsets": np.array([0, 2]),
            "data": np.zeros(2, np.uint8),
            "mask": np.zeros(2, bool),
        },
    ],
)
def test_arrays_that_are_no_column(arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    with pytest.raises(FolderError, match="do not belong together"):
        from_arrays(arrays)


ARRAYS = {
    "guess/values": np.array([1.5, -0.0, np.inf]),
    "": np.array(7),
    "é😀": np.array([True, False]),
    "empty": np.array([], np.int64),
    "by columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "data": np.frombuffer(b"ab\0c", np.uint8),
}


def dumped(arrays: dict[str, Any]) -> bytes:
    file = BytesIO()
    dump(arrays, file)
    return file.getvalue()


@pytest.mark.parametrize("arrays", [ARRAYS, {}])
def test_dumped_arrays_come_back(arrays: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "piece"
    with path.open("xb") as written:
        dump(arrays, written)
    assert path.read_bytes() == dumped(arrays)
    with path.open("rb") as file:
        found = load(file)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert not found[name].flags.writeable


def test_a_dump_is_plain_npy() -> None:
    file = BytesIO(dumped(ARRAYS))
    assert json.loads(np.load(file).tobytes()) == list(ARRAYS)
    for array in ARRAYS.values():
        np.testing.assert_array_equal(np.load(file, allow_pickle=False), array)
    assert file.read() == b""


def test_dumps_may_follow_one_another() -> None:
    file = BytesIO(dumped({"a": np.arange(2)}) + dumped({"b": np.arange(3)}))
    assert [list(load(file)), list(load(file))] == [["a"], ["b"]]


@pytest.mark.parametrize("array", [np.array(["a"], np.dtypes.StringDType()), np.array([None])])
def test_objects_are_not_dumped(array: np.ndarray[Any, Any]) -> None:
    file = BytesIO()
    with pytest.raises(UsageError, match="array 'x' is of"):
        dump({"a": np.arange(3), "x": array}, file)
    assert file.getvalue() == b""


def test_a_torn_dump_says_so_at_every_byte(tmp_path: Path) -> None:
    whole = dumped({"a/values": np.arange(3), "b": np.array([True])})
    starts = [match.start() for match in re.finditer(rb"\x93NUMPY", whole)]
    path = tmp_path / "00007"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        start = max(at for at in starts if at <= size)
        with path.open("rb") as file, pytest.raises(FolderError) as caught:
            load(file)
        assert str(path) in str(caught.value)
        if size not in starts:
            assert f"from byte {start} on" in str(caught.value)
    with pytest.raises(
        FolderError, match=r"a piece in memory: array 'b', from .*[(]0 of its 1 bytes"
    ):
        load(BytesIO(whole[:-1]))


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def names(value: Any) -> bytes:
    file = BytesIO()
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    np.save(file, np.frombuffer(content, np.uint8))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array at all",
        names(7),
        names({"a": 1}),
        names([1]),
        names([["a"]]),
        names(b"[" * 100_000),
        names(b"\xff"),
        names(["a"]) + header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}") + b"\x80",
        names(["a"])
        + header("{'descr': '<i8', 'fortran_order': False, 'shape': (-1,)}")
        + b"a" * 8,
        names(["a"]) + header(f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({10**12},)}}"),
        names(["a"]) + header(f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({10**20},)}}"),
        names(["a"]) + header("{'descr': 'nothing', 'fortran_order': False, 'shape': (1,)}"),
        names(["a"]) + header("{'descr': "),
        names(["a"]) + b"\x93NUMPY\x03\x00" + b"\0" * 20,
    ],
)
def test_a_foreign_file_says_so(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with path.open("rb") as file, pytest.raises(FolderError, match=r"foreign: .*from byte \d+ on"):
        load(file)


@given(st.data())
def test_a_damaged_file_says_so_or_is_read(data: st.DataObject) -> None:
    content = bytearray(dumped({"a": np.arange(3), "b": np.array([True])}))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    try:
        load(BytesIO(bytes(content)))
    except FolderError as error:
        assert "from byte" in str(error)
