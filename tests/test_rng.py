"""Random numbers: the very same bits however agents are cut, ordered, mixed or resumed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskagents.errors import UsageError
from daskagents.rng import BATCH, SEGMENT, SHARED, Draws, Rng
from daskagents.words import (
    Floats,
    Words,
    _log,
    agent_words,
    draw_words,
    normals,
    step_key,
    uniforms,
)

KEY = step_key(7, "players", 3)
ODDS = 2**64 - 1
N = 65_536


def slow_philox(key: int, counter: Sequence[int], keys: int = 0) -> list[int]:
    """Philox4x64-10 as the paper writes it, one counter at a time."""
    c, k = list(counter), [key, keys]
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [b >> 64 ^ c[1] ^ k[0], b & ODDS, a >> 64 ^ c[3] ^ k[1], a & ODDS]
        k = [(k[0] + 0x9E3779B97F4A7C15) & ODDS, (k[1] + 0xBB67AE8584CAA73B) & ODDS]
    return c


def slow_word(key: int, agent: int, index: int) -> int:
    """Return one draw, by the definition."""
    return slow_philox(key, (agent // 4, index, 0, 0))[agent % 4]


def words_of(rng: Rng, n: int) -> list[int]:
    """Take the next draws of an agent, as words."""
    return [rng._word() for _ in range(n)]


uint64 = st.integers(0, ODDS)
ids = st.integers(0, 2**63 - 1) | st.integers(0, 1000)


# --- the function


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        (
            [0] * 4,
            [0] * 2,
            "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b",
        ),
        (
            [ODDS] * 4,
            [ODDS] * 2,
            "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0",
        ),
    ],
)
def test_the_known_answers_of_random123(counter: list[int], key: list[int], expected: str) -> None:
    found = slow_philox(key[0], counter, key[1])
    assert " ".join(f"{word:016x}" for word in found) == expected


@given(uint64, st.lists(ids, max_size=40), uint64)
def test_words_are_those_of_the_paper_for_any_agents(
    key: int, agents: list[int], index: int
) -> None:
    found = draw_words(key, np.array(agents, np.int64), index)
    assert found.dtype == np.uint64
    assert found.tolist() == [slow_word(key, agent, index) for agent in agents]


@given(uint64, st.lists(st.integers(1, 1200), max_size=60), st.integers(0, 2**40))
def test_words_do_not_depend_on_the_gaps_between_agents(
    key: int, gaps: list[int], first: int
) -> None:
    agents = first + np.cumsum([0, *gaps])
    found = draw_words(key, agents, 2)
    assert (found == draw_words(key, np.arange(first, agents[-1] + 1), 2)[agents - first]).all()
    assert (found[::-1] == draw_words(key, agents[::-1].copy(), 2)).all()


@given(uint64, ids, st.integers(0, 2**40), st.integers(1, 9))
def test_draws_of_one_agent_are_those_of_many(key: int, agent: int, first: int, n: int) -> None:
    each = [draw_words(key, np.array([agent]), index).item() for index in range(first, first + n)]
    assert agent_words(key, agent, first, n).tolist() == each


# --- keys


def test_keys_differ_where_anything_differs() -> None:
    said = [
        (seed, name, step)
        for seed in (0, 1, -1, 0x11, 2**64, -(2**64), 2**64 + 1, 16**5000)
        for name in ("", "a", "1", "1/a", "/", "a/1", "ä", "\ud800", "a\0")
        for step in (0, 1, 0x11, -1, 2**70)
    ]
    keys = {step_key(*each) for each in said}
    assert len(keys) == len(said)
    assert all(0 <= key < 2**64 for key in keys)


def test_a_key_stays_what_it_was() -> None:
    assert step_key(7, "players", 0) == 9746013656606510609
    assert step_key(np.int64(7), "players", np.int32(0)) == 9746013656606510609  # type: ignore[arg-type]


# --- the same bits, whatever the way

Take = Callable[[Rng], Any]
TAKES: list[Take] = [
    lambda rng: rng.random(),
    lambda rng: rng.uniform(-3, 5),
    lambda rng: rng.gauss(1.0, 2.0),
    lambda rng: rng.randint(-10, 10**9),
    lambda rng: rng.choice("abcdefg"),
    lambda rng: rng.shuffle(range(6)),
    lambda rng: rng.generator().random(),
]


@given(uint64, st.lists(ids, min_size=1, max_size=30), st.data())
def test_any_split_into_blocks_gives_the_same(key: int, agents: list[int], data: Any) -> None:
    cut = data.draw(st.integers(0, len(agents)))
    whole = [words_of(Draws(key, np.array(agents)).rng(i), 4) for i in range(len(agents))]
    blocks = [np.array(part, np.int64) for part in (agents[:cut], agents[cut:])]
    parts = [words_of(Draws(key, block).rng(i), 4) for block in blocks for i in range(len(block))]
    assert whole == parts
    assert whole == [[slow_word(key, agent, index) for index in range(4)] for agent in agents]


@given(
    st.lists(
        st.tuples(st.integers(0, 2 * SEGMENT + 99), st.sampled_from(range(len(TAKES)))),
        max_size=60,
    ),
    st.booleans(),
)
@settings(deadline=None, max_examples=50)
def test_any_order_and_interleaving_gives_the_same(
    takes: list[tuple[int, int]], crowded: bool
) -> None:
    n, first = 2 * SEGMENT + 100, 10**12
    draws = Draws(KEY, np.arange(first, first + n))
    agents: dict[int, Rng] = {}
    taken: dict[int, int] = {}
    for place, which in takes:
        row = place % 7 * 1300 if crowded else place
        rng = agents[row] if row in agents else agents.setdefault(row, draws.rng(row))
        index = taken[row] = taken.get(row, -1) + 1
        alone = Draws(KEY, np.array([first + row])).rng(0)
        words_of(alone, index)
        assert TAKES[which](rng) == TAKES[which](alone)


@given(st.lists(st.tuples(st.integers(0, 2 * SEGMENT + 99), st.integers(0, 3)), max_size=60))
@settings(deadline=None, max_examples=50)
def test_one_rng_moved_in_any_order_gives_the_same(moves: list[tuple[int, int]]) -> None:
    draws = Draws(KEY, np.arange(2 * SEGMENT + 100))
    rng = draws.rng(0)
    for row, n in moves:
        rng.move(row)
        assert words_of(rng, n) == [slow_word(KEY, row, index) for index in range(n)]


@pytest.mark.parametrize("index", [0, 1, 2, SHARED - 1, SHARED, SHARED + 1, BATCH, 3 * BATCH + 7])
def test_rows_get_the_bits_of_the_block(index: int) -> None:
    draws = Draws(KEY, np.arange(5, 5 + 2 * SEGMENT + 3))
    words, uniforms, gausses = draws.words(index), draws.uniforms(index), draws.gausses(index)
    assert words.dtype == np.uint64
    assert uniforms.dtype == gausses.dtype == np.float64
    step = 1 if index < SHARED else 997
    take: list[tuple[Take, list[Any]]] = [
        (lambda rng: rng._word(), words.tolist()),
        (lambda rng: rng.random(), uniforms.tolist()),
        (lambda rng: rng.gauss(), gausses.tolist()),
    ]
    rng = draws.rng(0)
    for row in range(0, len(draws), step):
        for one, expected in take:
            rng.move(row)
            rng._index = index
            assert one(rng) == expected[row]


def test_block_arrays_are_asked_in_any_order_and_stay_what_they_are() -> None:
    draws = Draws(KEY, np.arange(100))
    found = {index: draws.words(index).tolist() for index in (5, 4, 0, 5, 1, 4)}
    for index, words in found.items():
        assert words == [slow_word(KEY, agent, index) for agent in range(100)]
    uniforms = draws.uniforms(0)
    uniforms[:] = 0
    assert draws.uniforms(0).all()


def test_one_agent_that_draws_very_many_gets_the_defined_words() -> None:
    draws = Draws(KEY, np.arange(N))
    rng = draws.rng(70)
    assert words_of(rng, 2500) == [slow_word(KEY, 70, index) for index in range(2500)]
    rng.move(71)
    assert words_of(rng, 40) == [slow_word(KEY, 71, index) for index in range(40)]
    rng.move(70)
    assert words_of(rng, 40) == [slow_word(KEY, 70, index) for index in range(40)]


def test_two_agents_far_past_the_shared_draws_do_not_mix() -> None:
    draws = Draws(KEY, np.arange(10))
    one, other = draws.rng(1), draws.rng(2)
    for index in range(SHARED + 20):
        assert one.random() == uniforms(np.array([slow_word(KEY, 1, index)], np.uint64))[0]
        assert other.gauss() == normals(np.array([slow_word(KEY, 2, index)], np.uint64))[0]


# --- what it costs


def test_rows_in_order_keep_one_segment() -> None:
    draws = Draws(KEY, np.arange(N))
    rng = draws.rng(0)
    for row in range(N):
        rng.move(row)
        rng.random()
        assert len(draws._segments) == 1
    waiting = [draws.rng(N - 1) for _ in range(3)]
    assert all(rng._segment is draws._segments[N // SEGMENT - 1] for rng in waiting)


def test_agents_under_way_share_the_numbers_of_their_segment() -> None:
    draws = Draws(KEY, np.arange(2 * SEGMENT))
    agents = [draws.rng(row) for row in range(2 * SEGMENT)]
    for _ in range(2):
        for rng in agents:
            rng.random()
    assert len({id(rng._segment) for rng in agents}) == 2


def test_rows_out_of_order_are_not_drawn_again_and_again() -> None:
    draws = Draws(KEY, np.arange(4 * SEGMENT))
    rng = draws.rng(0)
    seen = set()
    for turn in range(200):
        rng.move(turn * 7919 % (4 * SEGMENT))
        rng.random()
        seen.add(rng._segment)
    assert len(draws._segments) == 4
    assert len(seen) <= 6


def test_one_agent_that_draws_very_many_keeps_little() -> None:
    draws = Draws(KEY, np.arange(N))
    rng = draws.rng(5)
    for _ in range(20_000):
        rng.random()
    assert len(draws._segments) == 1
    assert len(rng._columns) == SHARED
    assert len(rng._batch.words) == BATCH


# --- numbers made of words

EDGES = np.array(
    [word for k in range(64) for word in (2**k - 1, 2**k, ODDS - 2**k, 3 << max(k, 2) - 2)],
    np.uint64,
)


def test_normal_numbers_are_those_of_the_standard_library() -> None:
    words = np.concatenate([EDGES, draw_words(1, np.arange(100_000), 0)])
    inverse = statistics.NormalDist().inv_cdf
    expected = [inverse(((word >> 12) + 0.5) * 2.0**-52) for word in words.tolist()]
    found = normals(words)
    np.testing.assert_allclose(found, expected, rtol=4e-15, atol=0)
    assert found.min() == -found.max() == pytest.approx(-8.2095, abs=1e-4)
    assert (np.abs(found) > 7).sum() > 10


@given(st.floats(2.0**-53, 1.0))
def test_the_logarithm_is_that_of_the_standard_library(x: float) -> None:
    found = float(_log(np.array([x]))[0])
    assert abs(found - math.log(x)) <= 2 * math.ulp(math.log(x))


@given(st.integers(1, 50), st.integers(0, 2000))
@settings(max_examples=30)
def test_a_number_does_not_depend_on_its_neighbours(n: int, start: int) -> None:
    words = draw_words(2, np.arange(4096), 0)
    part = words[start : start + n]
    assert (normals(part) == normals(words)[start : start + n]).all()
    assert (uniforms(part) == uniforms(words)[start : start + n]).all()


def test_random_lies_in_0_to_1_and_uses_53_bits() -> None:
    numbers = uniforms(EDGES)
    assert numbers.tolist() == [(word >> 11) * 2.0**-53 for word in EDGES.tolist()]
    assert numbers.min() == 0.0
    assert numbers.max() == 1 - 2.0**-53


# --- what one agent may ask for


def rng_at(row: int = 3) -> Rng:
    """Return the numbers of one agent of a small block."""
    return Draws(KEY, np.arange(10)).rng(row)


@pytest.mark.parametrize("take", TAKES)
def test_every_call_takes_one_draw(take: Take) -> None:
    rng = rng_at()
    take(rng)
    assert rng._word() == slow_word(KEY, 3, 1)


@pytest.mark.parametrize("take", TAKES)
def test_every_call_repeats(take: Take) -> None:
    rng = rng_at()
    first = [take(rng) for _ in range(40)]
    rng.move(3)
    assert [take(rng) for _ in range(40)] == first
    assert len(set(map(str, first))) > 5


def test_uniform_and_gauss_are_made_of_random_and_the_standard_normal() -> None:
    one = rng_at()
    u, z = one.random(), one.gauss()
    rng = rng_at()
    assert rng.uniform(-2.5, 7) == -2.5 + (7 - -2.5) * u
    assert rng.gauss(10.0, 0.5) == 10.0 + 0.5 * z
    assert type(rng.uniform(0, 1)) is type(rng.gauss()) is float


@given(st.integers(), st.integers(1, 2**53), st.integers(0, 30))
def test_randint_stays_within_its_ends(a: int, n: int, skipped: int) -> None:
    rng = rng_at()
    words_of(rng, skipped)
    found = rng.randint(a, a + n - 1)
    assert type(found) is int
    assert found == a + (slow_word(KEY, 3, skipped) * n >> 64)
    assert a <= found < a + n


def test_randint_reaches_both_ends_and_all_between() -> None:
    draws = Draws(KEY, np.arange(600))
    found = [draws.rng(row).randint(np.int8(-2), np.int8(3)) for row in range(600)]  # type: ignore[arg-type]
    assert sorted(set(found)) == [-2, -1, 0, 1, 2, 3]
    assert min(map(found.count, set(found))) > 60


@pytest.mark.parametrize(
    ("take", "said"),
    [
        (lambda rng: rng.randint(5, 4), r"randint\(5, 4\) has no number"),
        (lambda rng: rng.randint(0, 2**53), r"at most 2\*\*53 numbers; use generator"),
        (lambda rng: rng.choice([]), "empty sequence"),
        (lambda rng: rng.move(10), "row 10 was asked for, in a block of 10 rows"),
        (lambda rng: rng.move(-1), "row -1 was asked for"),
        (lambda rng: rng._draws.words(-1), "draw -1 was asked for"),
        (lambda rng: Draws(0, np.arange(0)).rng(0).random(), "a block without rows"),
        (lambda rng: Draws(0, np.arange(0)).rng(1), "row 1 was asked for, in a block of 0 rows"),
    ],
)
def test_what_cannot_be_drawn_is_said(take: Take, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        take(rng_at())


def test_what_cannot_be_drawn_takes_no_draw() -> None:
    rng = rng_at()
    with pytest.raises(UsageError):
        rng.randint(5, 4)
    with pytest.raises(UsageError):
        rng.choice(())
    assert rng._word() == slow_word(KEY, 3, 0)


def test_a_block_without_rows_has_empty_arrays() -> None:
    draws = Draws(KEY, np.arange(0))
    assert (
        len(draws) == len(draws.words(0)) == len(draws.uniforms(40)) == len(draws.gausses(1)) == 0
    )


def test_choice_takes_any_sequence_and_reaches_all_of_it() -> None:
    draws = Draws(KEY, np.arange(300))
    sequences: list[Any] = ["abc", ("a", "b", "c"), ["a", "b", "c"], np.array(["a", "b", "c"])]
    for seq in sequences:
        assert {str(draws.rng(row).choice(seq)) for row in range(300)} == {"a", "b", "c"}


@given(st.lists(st.integers(), max_size=30))
def test_shuffle_gives_a_new_tuple_of_the_same_values(values: list[int]) -> None:
    before = list(values)
    shuffled = rng_at().shuffle(values)
    assert type(shuffled) is tuple
    assert sorted(shuffled) == sorted(values)
    assert values == before
    assert rng_at().shuffle(tuple(values)) == shuffled


def test_shuffle_gives_every_order_equally_often() -> None:
    draws = Draws(KEY, np.arange(3000))
    orders = [draws.rng(row).shuffle((1, 2, 3)) for row in range(3000)]
    assert sorted(orders.count(order) for order in set(orders))[0] > 420
    assert len(set(orders)) == 6


def test_generators_repeat_and_differ_between_agents_and_draws() -> None:
    first = [rng_at(row).generator().integers(2**60) for row in range(10)]
    assert first == [rng_at(row).generator().integers(2**60) for row in range(10)]
    rng = rng_at()
    assert len({*first, *(rng.generator().integers(2**60) for _ in range(10))}) == 19


# --- are they random? Bounds of 5 standard errors, at fixed keys

TABLE = 20_000


def table(form: Callable[[Words], Floats], words: Words) -> Floats:
    """Return the numbers made of words, less their mean, in units of their deviation."""
    numbers = form(words)
    if form is uniforms:
        numbers = (numbers - 0.5) * math.sqrt(12)
    return numbers


def streams() -> dict[str, Words]:
    """Return words along the three ways in which draws can be neighbours."""
    steps = [step_key(7, "players", step) for step in range(TABLE // 10)]
    return {
        "ids": Draws(KEY, np.arange(TABLE)).words(0),
        "ids in the second draw": Draws(KEY, np.arange(TABLE)).words(1),
        "draws": agent_words(KEY, 5, 0, TABLE),
        "steps": np.concatenate([draw_words(key, np.arange(5), 0) for key in steps]),
    }


@pytest.mark.parametrize("form", [uniforms, normals])
@pytest.mark.parametrize("name", ["ids", "ids in the second draw", "draws", "steps"])
def test_numbers_are_distributed_and_not_correlated(
    name: str, form: Callable[[Words], Floats]
) -> None:
    numbers = table(form, streams()[name])
    n = len(numbers)
    error = 5 / math.sqrt(n)
    assert abs(numbers.mean()) < error
    assert abs(numbers.var() - 1) < error * math.sqrt(2)
    for lag in (1, 2, 3, 4, 5, 8, 16, 64, 1024):
        assert abs((numbers[lag:] * numbers[:-lag]).mean()) < 5 / math.sqrt(n - lag)
        assert abs((numbers[lag:] ** 2 * numbers[:-lag]).mean()) < 5 * math.sqrt(3 / (n - lag))


@pytest.mark.parametrize("name", ["ids", "ids in the second draw", "draws", "steps"])
def test_numbers_follow_their_distribution(name: str) -> None:
    words = streams()[name]
    n = len(words)
    normal = statistics.NormalDist().cdf
    shares = [uniforms(words), np.array([normal(z) for z in normals(words).tolist()])]
    for share in shares:
        distance = np.abs(np.sort(share) - (np.arange(n) + 0.5) / n).max()
        assert distance < 2.2 / math.sqrt(n)


def test_every_bit_of_a_word_is_even_and_no_word_comes_twice() -> None:
    for words in streams().values():
        n = len(words)
        bits = np.unpackbits(words.view(np.uint8)).reshape(n, 64)
        assert np.abs(bits.mean(0) - 0.5).max() < 2.5 / math.sqrt(n)
        assert len(np.unique(words)) == n


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2), (0, 3), (3, 4)])
def test_draws_one_after_another_are_not_correlated(one: int, other: int) -> None:
    first, second = (table(normals, Draws(KEY, np.arange(N)).words(i)) for i in (one, other))
    for lag in (0, 1, 2):
        assert abs((first[lag:] * second[: N - lag]).mean()) < 5 / math.sqrt(N)
