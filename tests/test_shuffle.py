"""Rows from some blocks to others, and back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from test_groups import Talker

from daskagents.block import Block, first_block
from daskagents.grouping import pack
from daskagents.shuffle import assemble, bring_back, split


def table_of(n: int, draw: Any) -> dict[str, Any]:
    values = {
        "room": draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)),
        "level": draw(st.lists(st.floats(allow_nan=False), min_size=n, max_size=n)),
        "said": draw(st.lists(st.none() | st.text("aé", max_size=3), min_size=n, max_size=n)),
        "heard": draw(
            st.lists(st.lists(st.integers(0, 3), max_size=2).map(tuple), min_size=n, max_size=n)
        ),
    }
    return {name: Talker.__fields__[name].from_array(v) for name, v in values.items()}


@given(data=st.data(), n=st.integers(1, 40), size=st.integers(1, 12), rows=st.integers(1, 12))
def test_there_and_back_nothing_changes(data: Any, n: int, size: int, rows: int) -> None:
    table = table_of(n, data.draw)
    bounds = [*range(0, n, size), n]
    homes = [
        first_block(Talker, a, b - a, {k: c.take(np.arange(a, b)) for k, c in table.items()})
        for a, b in pairwise(bounds)
    ]
    chosen = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)) or [True])
    if not len(chosen):
        return
    labels = table["room"].values[chosen]
    ids = chosen[np.argsort(labels, kind="stable")]
    sizes = np.unique(labels, return_counts=True)[1]
    cuts = np.append(0, np.cumsum(sizes))[pack(sizes, rows)]
    lanes = np.full(n, 255, np.uint8)
    wanted = [ids[a:b] for a, b in pairwise(cuts.tolist())]
    for at, some in enumerate(wanted):
        lanes[some] = at % 2
    pieces = [split(block, lanes[block.first : block.first + block.n], 2) for block in homes]
    direct = [assemble(some, homes) for some in wanted]
    by_lane = [assemble(some, [p[at % 2] for p in pieces]) for at, some in enumerate(wanted)]
    for one, other, some in zip(direct, by_lane, wanted, strict=True):
        alike(one, other)
        assert one.ids is not None and one.ids.tolist() == some.tolist()
        assert len({0, *np.diff(one.columns["room"].values)}) >= 1
    for home in homes:
        inside = chosen[(chosen >= home.first) & (chosen < home.first + home.n)]
        if len(inside):
            old = None if len(inside) == home.n else home
            alike(bring_back(old, home.first, inside, by_lane), home)


def alike(one: Block, other: Block) -> None:
    assert (one.first, one.n) == (other.first, other.n)
    for name, field in Talker.__fields__.items():
        a, b = field.tolist(one.columns[name]), field.tolist(other.columns[name])
        assert list(map(repr, a)) == list(map(repr, b)), name


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 12))
def test_groups_are_packed_whole(sizes: list[int], rows: int) -> None:
    bounds = pack(np.array(sizes), rows)
    assert bounds[0] == 0 and bounds[-1] == len(sizes) and (np.diff(bounds) > 0).all()
    held = [sum(sizes[a:b]) for a, b in pairwise(bounds.tolist())]
    assert all(n < rows + max(sizes) for n in held)
