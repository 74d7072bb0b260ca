import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from daskagents.block import Block, Outcome
from daskagents.columns import Plain, compact_strings, ragged_strings
from daskagents.forms import Form
from daskagents.monitor.sketch import (
    BINS,
    ERROR,
    MOST,
    SAMPLE,
    TEXTS,
    Counts,
    Numbers,
    Sketch,
    merge,
    read_sketch,
    sketch_numbers,
    sketch_outcome,
    sketch_texts,
)
from daskagents.usage import Tally, Usage

floats = st.floats(width=64, allow_nan=True, allow_infinity=True)
tame = st.floats(-1e6, 1e6)
parts = st.lists(st.lists(tame, max_size=40), min_size=1, max_size=5)
words = st.lists(st.lists(st.sampled_from(["", "yes", "no", "<b>", "é" * 90]), max_size=40))


def again(sketch: Sketch) -> Sketch:
    """Return a sketch that has travelled."""
    return read_sketch(msgspec.msgpack.decode(msgspec.msgpack.encode(sketch.plain())))


def ranks(values: NDArray[np.float64], at: float) -> tuple[float, float]:
    """Return which shares of some values are below a number, and not above it."""
    return float((values < at).mean()), float((values <= at).mean())


@given(parts)
def test_merged_numbers_are_those_of_the_whole(lists: list[list[float]]) -> None:
    whole = np.array([x for each in lists for x in each])
    merged = merge([again(sketch_numbers(np.array(each, float))) for each in lists])
    direct = sketch_numbers(whole)
    assert isinstance(merged, Numbers)
    assert (merged.count, merged.missing) == (direct.count, direct.missing)
    assert merged.total == pytest.approx(direct.total, rel=1e-9, abs=1e-6)
    assert merged.squares == pytest.approx(direct.squares, rel=1e-9, abs=1e-6)
    assert np.array_equal([merged.low, merged.high], [direct.low, direct.high], equal_nan=True)
    if len(whole):  # all were looked at: the histograms are the same, bin by bin
        assert (merged.level, merged.first) == (direct.level, direct.first)
        assert merged.bins.tolist() == direct.bins.tolist()


@given(st.lists(floats, max_size=60))
def test_any_numbers_can_be_told(values: list[float]) -> None:
    array = np.array(values, float)
    found = again(sketch_numbers(array))
    assert isinstance(found, Numbers)
    finite = array[np.isfinite(array)]
    assert (found.count, found.missing) == (len(finite), len(array) - len(finite))
    assert found.bins.sum() == len(finite)
    assert len(found.bins) <= BINS + 2
    if len(finite):
        assert (found.low, found.high) == (finite.min(), finite.max())
        assert found.edges[0] <= found.low <= found.high <= found.edges[-1]
        assert found.quantile(0) == found.low and found.quantile(1) == found.high


@given(
    st.lists(st.tuples(st.integers(1, 3_000), st.floats(-50, 50)), min_size=1, max_size=9),
    st.sampled_from([0.05, 0.25, 0.5, 0.75, 0.95]),
)
def test_quantiles_are_off_by_no_more_than_is_said(
    sizes: list[tuple[int, float]], share: float
) -> None:
    draw = np.random.default_rng(len(sizes))
    lists = [draw.normal(shift, 10.0, n).round(1) for n, shift in sizes]
    whole = np.concatenate(lists)
    merged = merge([sketch_numbers(each) for each in lists])
    assert isinstance(merged, Numbers)
    below, not_above = ranks(whole, merged.quantile(share))
    # one share for the sketches, one for their merger; of few values one is a large share itself
    off = 2 * ERROR + len(sizes) / len(whole)
    assert below - off <= share <= not_above + off


def test_of_many_rows_a_sample_is_looked_at_and_sums_are_exact() -> None:
    draw = np.random.default_rng(7)
    lists = [draw.exponential(3.0, 50_000) for _ in range(8)]
    whole = np.concatenate(lists)
    merged = merge([again(sketch_numbers(each)) for each in lists])
    assert isinstance(merged, Numbers)
    assert merged.sampled and 7 * SAMPLE < merged.taken <= 8 * SAMPLE
    assert merged.count == len(whole)
    assert merged.mean == pytest.approx(whole.mean(), rel=1e-12)
    assert (merged.low, merged.high) == (whole.min(), whole.max())
    assert merged.bins.sum() == pytest.approx(len(whole))
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        below, not_above = ranks(whole, merged.quantile(share))
        assert below - 2 * ERROR <= share <= not_above + 2 * ERROR
    assert sketch_numbers(lists[0]).plain() == sketch_numbers(lists[0]).plain()


@given(words.filter(bool))
def test_merged_counts_are_those_of_the_whole(lists: list[list[str]]) -> None:
    merged = merge([again(sketch_texts(compact_strings(each))) for each in lists])
    assert isinstance(merged, Counts)
    whole = [text for each in lists for text in each]
    assert merged.count == len(whole) and not merged.sampled and merged.others == 0
    assert sorted(merged.top.values()) == sorted(whole.count(text) for text in set(whole))


def test_texts_of_agents_that_failed_do_not_count() -> None:
    failed = np.array([True, False, False, True])
    for column in (ragged_strings(["", "a", "", ""]), compact_strings(["", "a", "", ""])):
        found = sketch_texts(column, failed)
        assert (found.count, found.missing, dict(found.top)) == (2, 2, {"a": 1, "": 1})


def test_of_many_kinds_of_texts_the_most_frequent_are_told() -> None:
    values = [f"word {i % 300}" if i % 2 else "often" for i in range(2_000)]
    found = sketch_texts(compact_strings(values))
    assert found.top["often"] == 1_000 and not found.sampled
    assert len(found.top) == MOST
    assert sum(found.top.values()) + found.others == 2_000


def test_free_texts_are_sampled_and_not_listed() -> None:
    found = sketch_texts(ragged_strings([f"story {i} " + "x" * 500 for i in range(3_000)]))
    assert (found.count, found.others, dict(found.top), found.sampled) == (3_000, 3_000, {}, True)
    often = sketch_texts(ragged_strings(["yes"] * 2_000 + [f"no {i}" for i in range(2_000)]))
    assert often.sampled and often.top["yes"] == pytest.approx(2_000, abs=4_000 / TEXTS * 60)


def test_a_block_is_told_in_few_bytes_and_with_no_agent() -> None:
    n = 20_000
    replies = {"a": Plain(np.arange(float(n))), "b": compact_strings(["x", "y"] * (n // 2))}
    usage = Tally([("small", "http://127.0.0.1/v1", Usage(3, 20, 5))])
    made = Outcome(
        Block(0, n, {}),
        Form((("a", "number"), ("b", "text"))),
        replies,
        np.arange(n) < 5,
        {"ValueError": 5},
        None,
        usage,
    )
    told = sketch_outcome(made)
    assert len(msgspec.msgpack.encode(told)) < 2_000
    assert (told["rows"], told["failed"], told["failures"]) == (n, 5, {"ValueError": 5})
    assert told["usage"] == usage.plain()
    assert read_sketch(told["replies"]["b"]).missing == 5


def test_nothing_at_all() -> None:
    nothing = merge([sketch_numbers(np.zeros(0)), sketch_numbers(np.full(3, math.nan))])
    assert isinstance(nothing, Numbers)
    assert (nothing.count, nothing.missing, math.isnan(nothing.quantile(0.5))) == (0, 3, True)
