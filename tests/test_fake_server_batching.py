from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskagents.fake_server.batching import Slots
from daskagents.fake_server.script import Batching


@dataclass(order=True)
class Timer:
    when: float
    number: int
    call: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        self.call = None


class Clock:
    """A clock that goes as fast as it can."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[Timer] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any) -> Timer:
        timer = Timer(when, next(self._numbers), lambda: callback(*args))
        heapq.heappush(self._timers, timer)
        return timer

    def run(self, until: float = math.inf) -> None:
        while self._timers and self._timers[0].when <= until:
            timer = heapq.heappop(self._timers)
            if timer.call is not None:
                self.now = timer.when
                timer.call()


def all_at_once(clients: int, each: int = 40) -> tuple[float, float]:
    """Return throughput and mean latency of clients that ask again as soon as they are answered."""
    clock = Clock()
    slots = Slots(Batching(slots=8, prompt_speed=10_000, answer_speed=50), clock)
    latencies: list[float] = []

    def ask(left: int) -> None:
        def done() -> None:
            latencies.append(clock.now - start)
            if left > 1:
                ask(left - 1)

        start = clock.now
        slots.enter(100, 10, 1, done)

    for _ in range(clients):
        ask(each)
    clock.run()
    assert len(latencies) == clients * each
    return len(latencies) / clock.now, sum(latencies) / len(latencies)


def test_throughput_grows_up_to_the_slots_and_then_latency_does() -> None:
    throughput, latency = {}, {}
    for clients in (1, 2, 4, 8, 16, 64):
        throughput[clients], latency[clients] = all_at_once(clients)
    assert throughput[1] == pytest.approx(1 / 0.21)
    for clients in (2, 4, 8):
        assert throughput[clients] == pytest.approx(clients * throughput[1], rel=0.05)
        assert latency[clients] == pytest.approx(latency[1], rel=0.05)
    for clients in (16, 64):
        assert throughput[clients] == pytest.approx(throughput[8], rel=0.05)
        assert latency[clients] == pytest.approx(clients / throughput[8], rel=0.1)


jobs = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 20), st.integers(1, 6), st.booleans()),
    max_size=30,
)


@given(jobs, st.integers(1, 4), st.floats(0, 3))
def test_all_that_is_not_cancelled_ends_and_slots_come_back(
    wanted: list[tuple[int, int, int, bool]], count: int, moment: float
) -> None:
    clock = Clock()
    slots = Slots(Batching(slots=count, prompt_speed=100, answer_speed=10, queue=0), clock)
    ended: list[int] = []
    entered = [
        slots.enter(prompt, answer, choices, lambda number=number: ended.append(number))
        for number, (prompt, answer, choices, _) in enumerate(wanted)
    ]
    clock.run(moment)
    before = set(ended)
    gone = {number for number, (*_, leaves) in enumerate(wanted) if leaves}
    for number in gone:
        entered[number].cancel()
        entered[number].cancel()
    clock.run()
    assert sorted(ended) == sorted((set(range(len(wanted))) - gone) | before)
    slots.enter(0, 0, count, lambda: None)
    assert slots.full  # with all slots taken; so all of them were free
    clock.run()
    assert not slots.full


def test_first_come_first_served() -> None:
    clock, ended = Clock(), []
    slots = Slots(Batching(slots=2, prompt_speed=1e9, answer_speed=10), clock)
    # the second needs both slots, and the third may not overtake it
    for number, choices in enumerate((1, 2, 1)):
        slots.enter(0, 10, choices, lambda n=number: ended.append((n, round(clock.now, 6))))
    clock.run()
    assert ended == [(0, 1.0), (1, 2.0), (2, 3.0)]
