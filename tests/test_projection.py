"""What a run will hold in memory, against what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import Player, game

import daskagents as da
from daskagents import tasks
from daskagents.errors import UsageError
from daskagents.executors import Here
from daskagents.projection import rounds_ahead


class Mixed(da.Agent):
    """Fields of each kind of column."""

    money: float = 1.0
    happy: bool = False
    age: int | None = None
    name: str = "é!"
    nick: str | None = None
    tags: tuple[int, ...] = (1, 2)
    trade: str = "smith"


def held_bytes(handle: Any) -> int:
    return tasks.state_of(handle).nbytes


@settings(max_examples=10)
@given(
    names=st.lists(st.text(max_size=5), min_size=1, max_size=40),
    size=st.integers(1, 50),
    given_ages=st.booleans(),
    trades=st.lists(st.sampled_from(["smith", "baker" * 10, "é"]), min_size=1, max_size=5),
)
def test_nbytes_is_what_the_blocks_hold(
    names: list[str], size: int, given_ages: bool, trades: list[str]
) -> None:
    columns: dict[str, Any] = {
        "name": [n.encode("utf-8", "replace").decode() for n in names],
        "trade": [trades[at % len(trades)] for at in range(len(names))],
    }
    if given_ages:
        columns["age"] = [None if at % 2 else at for at in range(len(names))]
    people = da.Population(Mixed, columns, block_size=size)
    held: list[int] = []

    def look(people: Any) -> Iterator[Any]:
        yield {"n": len(people)}
        _, members = people._join()
        blocks = people._session.executor.gather(members.handles)
        held.append(sum(tasks.state_of(block).nbytes for block in blocks))

    da.run(look, people, client="sync")
    # a column without None may come without a mask in one block and with it in another
    masks = len(names) if given_ages else 0
    assert held[0] <= people.nbytes <= held[0] + masks


def test_workers_hold_what_was_said(client1: Client) -> None:
    people = da.Population(Player, {"level": np.arange(200_000)})

    def look(people: Any) -> Iterator[Any]:
        people.reply(1.0)
        yield {"n": len(people)}
        _, members = people._join()
        handles = members.handles
        held.append(sum(client1.gather(client1.map(held_bytes, handles))))
        at = dict(client1.nbytes(summary=False))
        known.append(sum(at[handle.key] for handle in handles))

    held: list[int] = []
    known: list[int] = []
    da.run(look, people, client=client1)
    texts = 200_000 * (8 + len("199999: 99.999"))  # what they noted, each another text
    assert people.nbytes < held[0] <= people.nbytes + texts
    # what Dask places and spills by: the state, and the replies beside it
    assert held[0] < known[0] < 2 * held[0] + 200_000 * 16


def test_agents_that_do_not_fit_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            memory_limit=2**30,
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        people = da.Population(Player, 30_000_000)
        with pytest.raises(UsageError, match=r"30,000,000 Player take .* have 1\.0 GiB"):
            da.run(game, people, client=client, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_look_ahead_follows_the_memory() -> None:
    people = da.Population(Player, 1_000)
    size = people.nbytes
    assert rounds_ahead([people, people], None, 8) == 8
    assert rounds_ahead([people], 100 * size, 8) == 8
    assert rounds_ahead([people], 10 * size, 8) == 4
    assert rounds_ahead([people], 2 * size, 8) == 1
    with pytest.raises(UsageError, match="do not fit into memory"):
        rounds_ahead([people], 2 * size - 1, 8)
    assert rounds_ahead([], 100, 8) == 8
    assert (Here().memory() or 0) > 2**28
