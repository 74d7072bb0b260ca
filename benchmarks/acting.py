"""Who acts: a step over few of the agents, against one over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import daskagents as da
from benchmarks.cases import Voter
from benchmarks.measure import Row


def act(agents: Any, share: float, rounds: int) -> Iterator[Any]:
    """Ask a sample of the agents, round after round."""
    for _ in range(rounds):
        yield (agents if share == 1 else agents.sample(share)).reply()


def few(client: Any, agents: int, rounds: int) -> Row:
    """Measure a round in which 1 % of the agents act, drawn by chance, against one of all."""

    def each(share: float) -> list[float]:
        run = da.run(act, da.Population(Voter, agents), share, rounds, client=client)
        return [float(seconds) for seconds in run["seconds"].values[rounds // 4 :]]

    return Row(
        f"a round in which 1 % of {agents:,} agents act, written, s",
        each(0.01),
        "s",
        "a round in which all act, s",
        each(1),
        "0.01, and the fixed cost of a round",
    )
