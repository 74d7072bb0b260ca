"""Auctions of five bidders as scenes, against the same auctions of plain objects."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
from distributed import Client

import daskagents as da
from benchmarks.measure import Row, seconds


class Bidder(da.Agent):
    """Bids one more as long as that is not more than the good is worth to it."""

    room: int = 0
    value: float = 0.0

    async def reply(self, message: da.Message) -> float:
        """Bid, or reply 0."""
        price = message.content
        return price + 1 if price + 1 <= self.value else 0.0


class Plain:
    """The same bidder as a plain Python object."""

    def __init__(self, number: int, value: float) -> None:
        self.id, self.value = number, value

    async def __call__(self, price: float) -> da.Message:
        """Bid, or reply 0."""
        return da.Message(price + 1 if price + 1 <= self.value else 0.0)


async def auction(members: Any) -> Any:
    """Let members bid one after another until nobody raises."""
    price, winner = 0.0, -1
    while True:
        raised = False
        for member in members:
            bid = (await member(price)).content if member.id != winner else 0.0
            if bid > price:
                price, winner, raised = bid, member.id, True
        if not raised:
            return {"price": price, "winner": winner}


def market(bidders: Any, rounds: int) -> Iterator[Any]:
    """Hold all auctions, round after round."""
    for _ in range(rounds):
        yield bidders.groups("room").play(auction)


def auctions(client: Client, rooms: int) -> Iterator[Row]:
    """Measure one round, the rows brought together in it, and rounds after it."""
    n, rng = 5 * rooms, np.random.default_rng(0)
    room, value = rng.permutation(np.arange(n) % rooms), rng.integers(1, 50, n).astype(float)
    objects = [Plain(number, worth) for number, worth in enumerate(value.tolist())]
    groups = [objects[first : first + 5] for first in range(0, n, 5)]

    async def plain() -> None:
        for group in groups:
            await auction(group)

    others = [seconds(lambda: asyncio.run(plain())) for _ in range(3)]
    bidders = da.Population(Bidder, {"room": room, "value": value})

    def play(rounds: int) -> Any:
        return da.run(market, bidders, client=client, rounds=rounds)

    what, other = f"{rooms:,} auctions of 5 bidders as scenes", "plain objects, one process"
    once = [seconds(lambda: play(1)) for _ in range(3)]
    yield Row(f"{what}, a run of one round, s", once, "s", other, others, "2 s at 10,000")
    later = play(4)["seconds"].values[1:].tolist()
    yield Row(f"{what}, a round after the first, s", later, "s", other, others)
