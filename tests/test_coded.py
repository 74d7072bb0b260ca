"""Coded columns: in all they do, they are as ragged ones, and smaller."""

from __future__ import annotations

import pickle
from io import BytesIO
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskagents.columns import (
    Coded,
    Mask,
    Ragged,
    Texts,
    compact_bytes,
    compact_strings,
    concat,
    dump,
    from_arrays,
    load,
    ragged_bytes,
    ragged_strings,
    repeat,
    strings,
)
from daskagents.errors import FolderError

NONE = st.none()


def mask_of(values: list[str | None]) -> Mask:
    mask = np.array([value is None for value in values], bool)
    return mask if mask.any() else None


def ragged(values: list[str | None]) -> Texts:
    return ragged_strings([value or "" for value in values], mask_of(values))


def coded(values: list[str | None]) -> Coded:
    """Return texts coded, however many differ, with a word that no row needs."""
    words = [*dict.fromkeys(["unused", *(value or "" for value in values)])]
    codes = np.array([words.index(value or "") for value in values], np.uint16)
    return Coded(codes, ragged_strings(words), mask_of(values))


def compact(values: list[str | None]) -> Texts:
    return compact_strings([value or "" for value in values], mask_of(values))


FORMS = st.sampled_from([ragged, coded, compact])
FEW = st.lists(NONE | st.sampled_from(["", "a", "bé", "a" * 40, "😀"]), max_size=30)


def assert_is(column: Any, model: list[str | None]) -> None:
    """Hold a column of any form against a list, in every way to read it."""
    mask = [False] * len(model) if column.mask is None else column.mask.tolist()
    assert mask == [value is None for value in model]
    assert column.texts() == [value or "" for value in model]
    data = [(value or "").encode() for value in model]
    assert column.rows() == [column.row(row) for row in range(len(model))] == data
    assert column.each(bytes.decode) == strings(column).tolist() == [v or "" for v in model]
    assert column.lengths().tolist() == [len(row) for row in data]
    assert column.nbytes == sum(array.nbytes for array in column.arrays().values())


def assert_is_small(column: Texts) -> None:
    """Hold the form of a column against its rows: coded without an unused word, or ragged."""
    if isinstance(column, Coded):
        words = column.words.rows()
        assert len(words) <= len(column) / 2
        assert set(column.codes.tolist()) == set(range(len(words)))
        assert column.codes.dtype == np.min_scalar_type(max(0, len(words) - 1))
        assert column.nbytes <= ragged_bytes(column.rows(), column.mask).nbytes


@given(st.data(), FEW, FORMS, FORMS)
def test_forms_mix_in_put(data: st.DataObject, model: Any, one: Any, other: Any) -> None:
    news = data.draw(FEW) if model else []
    rows = [data.draw(st.sampled_from(range(len(model)))) for _ in news]
    column = one(model)
    changed = column.put(np.array(rows, np.int64), other(news))
    assert_is(column, model)
    for row, value in zip(rows, news, strict=True):
        model[row] = value
    assert_is(changed, model)
    if rows and one is not ragged and not changed.covered(np.array(rows), other(news)):
        assert_is_small(changed)


@given(FEW.filter(bool), FORMS, FORMS)
def test_a_column_that_is_replaced_leaves_nothing(model: Any, one: Any, other: Any) -> None:
    news = other(model[::-1])
    assert one(model).put(np.arange(len(model)), news) is news


@given(st.data(), FEW, FORMS)
def test_forms_are_taken_from_as_a_list(data: st.DataObject, model: Any, form: Any) -> None:
    column = form(model)
    cut = data.draw(st.slices(len(model)))
    assert_is(column.take(cut), model[cut])
    rows = data.draw(st.lists(st.sampled_from(range(len(model))))) if model else []
    assert_is(column.take(np.array(rows, np.int64)), [model[row] for row in rows])
    mask = data.draw(st.lists(st.booleans(), min_size=len(model), max_size=len(model)))
    chosen = [value for value, taken in zip(model, mask, strict=True) if taken]
    assert_is(column.take(np.array(mask, bool)), chosen)


@given(st.lists(st.tuples(FEW, FORMS), min_size=1, max_size=4))
def test_forms_mix_in_concat(parts: list[Any]) -> None:
    column = concat([form(model) for model, form in parts])
    assert_is(column, list(chain.from_iterable(model for model, _ in parts)))
    assert isinstance(column, Texts)
    if any(form is coded for _, form in parts):
        assert_is_small(column)


@given(FEW, FORMS)
def test_forms_come_back(model: Any, form: Any) -> None:
    column = form(model)
    file = BytesIO()
    dump(column.arrays(), file)
    file.seek(0)
    for found in (from_arrays(load(file)), pickle.loads(pickle.dumps(column))):
        assert type(found) is type(column)
        assert_is(found, model)
        assert not any(array.flags.writeable for array in found.arrays().values())


@given(NONE | st.sampled_from(["", "bé"]), FORMS, st.integers(0, 9))
def test_a_repeated_row_is_kept_once(value: Any, form: Any, n: int) -> None:
    column = repeat(form([value]), n)
    assert_is(column, [value] * n)
    assert isinstance(column, Coded)
    assert len(column.words) == 1


@given(FEW)
def test_the_smaller_form_is_chosen(model: Any) -> None:
    column = compact(model)
    assert_is(column, model)
    differ = len({value or "" for value in model})
    assert isinstance(column, Coded) == (0 < 2 * differ <= len(model))
    assert_is_small(column)
    data = compact_bytes([(value or "").encode() for value in model], column.mask)
    assert type(data) is type(column)
    assert data.rows() == column.rows()


def test_a_million_repeated_texts_take_a_byte_each() -> None:
    column = compact_strings(["primary", "secondary", "bachelor", "master", "doctor"] * 200_000)
    assert column.nbytes <= 1.1 * len(column)
    assert repeat(ragged_strings(["x" * 1000]), 1_000_000).nbytes <= 1.1 * 1_000_000
    first, last, *_ = texts = column.texts()
    assert first is texts[5]
    assert last is texts[-4]


@pytest.mark.parametrize("run", [1, 3, 40_000])
def test_what_repeats_is_found_wherever_it_stands(run: int) -> None:
    values = [f"family {at // run % 20_000}" for at in range(120_000)]
    column = compact_strings(values)
    assert isinstance(column, Coded)
    assert column.codes.dtype == (np.uint8 if run == 40_000 else np.uint16)
    assert column.texts() == values


def test_texts_that_differ_are_not_coded() -> None:
    assert isinstance(compact_strings([f"{at}" for at in range(5000)]), Ragged)
    assert isinstance(compact_strings(["a", "a", *map(str, range(5000))]), Ragged)


@pytest.mark.parametrize(
    ("words", "dtype"), [(256, "u1"), (257, "u2"), (65_536, "u2"), (65_537, "u4")]
)
def test_codes_are_as_small_as_they_can_be(words: int, dtype: str) -> None:
    column = compact_bytes([b"%d" % at for at in range(words)] * 3)
    assert isinstance(column, Coded)
    assert column.codes.dtype == dtype
    if words < 300:
        more = column.put(np.array([0, 1]), ragged_bytes([b"x", b"y"]))
        assert isinstance(more, Coded)
        assert more.codes.dtype == "u2"
        assert more.rows() == [b"x", b"y", *column.rows()[2:]]


def test_words_do_not_pile_up() -> None:
    rows = np.arange(300)
    column: Texts = compact_strings(["calm"] * 1000)
    for turn in range(3000):
        column = column.put(rows[turn % 7 :], compact_strings([f"mood {turn}"] * (300 - turn % 7)))
        assert isinstance(column, Coded)
        assert len(column.words) <= 1 + 8
        assert_is_small(column)
    assert column.nbytes < 1200


def test_a_slice_shares_words_that_weigh_no_more_than_its_codes() -> None:
    column = compact_strings(["yes", "no", "x" * 100] * 1000)
    assert isinstance(column, Coded)
    half = column.take(slice(0, 1500))
    assert isinstance(half, Coded)
    assert np.shares_memory(half.words.data, column.words.data)
    assert np.shares_memory(half.codes, column.codes)
    few = column.take(slice(0, 2))
    assert few.rows() == [b"yes", b"no"]
    assert few.nbytes == 3 * 8 + 5


@pytest.mark.parametrize(
    "codes",
    [
        np.array([0, 2], np.uint8),
        np.array([0, 1], np.int64),
        np.array([0.0, 1.0]),
        np.array([[0, 1]], np.uint8),
        np.array([0], np.uint8),
    ],
)
def test_codes_that_are_no_column(codes: Any) -> None:
    words = ragged_strings(["a", "b"]).arrays()
    with pytest.raises(FolderError, match="do not belong together"):
        from_arrays({"codes": codes, "mask": np.zeros(2, bool), **words})
    with pytest.raises(FolderError, match="do not belong together"):
        from_arrays({"codes": np.zeros(2, np.uint8), **words, "offsets": np.array([0, 1])})
