"""What all workers share, as state machines: whatever is said, the limits hold."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskagents.accounts.places import shares
from daskagents.accounts.rate import WINDOW
from daskagents.keeper import Accounts

# Rates


@dataclass
class Caller:
    """A worker that keeps to what it was granted, and remembers when it called."""

    accounts: Accounts
    name: str
    terms: list[float | None]
    have: list[float] = field(default_factory=lambda: [0.0, 0.0])
    used: list[float] = field(default_factory=lambda: [0.0, 0.0])
    log: list[tuple[float, float]] = field(default_factory=list)

    def ask(self, want: float, now: float, *, heard: bool = True, bye: bool = False) -> Any:
        if want:
            self.have = [0.0, 0.0]  # short of something: all is given back
        said = {"have": list(self.have), "used": list(self.used), "bye": bye}
        need = [1.0, 10.0] if want else [0.0, 0.0]
        wants = {"need": need, "want": [want, 10 * want]}
        about = {"kind": "rate", "terms": self.terms, "gate": "g"}
        told = self.accounts.tell("vendor", self.name, {**about, **said, **wants}, now)
        if heard and not bye:
            self.have = [h + g for h, g in zip(self.have, told["granted"], strict=True)]
        return told

    def call(self, now: float) -> bool:
        if self.have[0] < 1 or self.have[1] < 10:
            return False
        self.have = [self.have[0] - 1, self.have[1] - 10]
        self.used = [self.used[0] + 1, self.used[1] + 10]
        self.log.append((now, 1.0))
        return True


def most_in_a_window(times: list[float]) -> int:
    times = sorted(times)
    return max((sum(t <= u < t + WINDOW for u in times) for t in times), default=0)


acts = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["ask", "call", "call", "call", "back", "lost", "die", "rest"]),
        st.integers(1, 40),
        st.sampled_from([0.0, 0.01, 0.3, 2.0, 7.0, 29.0]),
    ),
    max_size=150,
)


@given(acts=acts, most=st.sampled_from([1, 3, 10, 60, 200]), tokens=st.sampled_from([None, 100]))
def test_no_minute_has_more_calls_than_the_limit(acts: Any, most: int, tokens: int | None) -> None:
    accounts, now, log = Accounts(), 0.0, []
    workers = [Caller(accounts, f"w{i}", [most, tokens]) for i in range(3)]
    for at, act, number, later in acts:
        worker = workers[at]
        now += later
        if act == "ask":
            worker.ask(number, now)
        elif act == "lost":
            worker.ask(number, now, heard=False)
        elif act == "back":
            worker.have = [0.0, 0.0]
            worker.ask(0, now, bye=True)
            workers[at] = Caller(accounts, f"{worker.name}'", [most, tokens], log=worker.log)
        elif act == "die":
            accounts.lose(worker.name, now)
            workers[at] = Caller(accounts, f"{worker.name}'", [most, tokens], log=worker.log)
        elif act == "call":
            for _ in range(number):
                worker.call(now)
    log = [time for worker in workers for time, _ in worker.log]
    assert most_in_a_window(log) <= most
    if tokens is not None:
        assert 10 * most_in_a_window(log) <= tokens


def polling(
    workers: list[Caller], seconds: float, *, want: float = 50.0, now: float = 0.0
) -> list[float]:
    """Let workers ask as they are told to, and call as soon as they may; return when they did."""
    due = dict.fromkeys(range(len(workers)), now)
    calls, end = [], now + seconds
    while True:
        at = min(due, key=lambda i: due[i])
        now = due[at]
        if now >= end:
            return calls
        while workers[at].call(now):
            calls.append(now)
        told = workers[at].ask(want, now)
        while workers[at].call(now):
            calls.append(now)
        due[at] = now + told["wait"]


@pytest.mark.parametrize("most", [1, 2, 7, 60, 600, 60_000])
@pytest.mark.parametrize("count", [1, 3])
def test_a_rate_is_used_in_full(most: int, count: int) -> None:
    accounts = Accounts()
    workers = [Caller(accounts, f"w{i}", [most, None]) for i in range(count)]
    calls = polling(workers, 200.0, want=max(50.0, most / 10))
    assert most_in_a_window(calls) <= most if most < 1000 else True
    assert len(calls) >= 0.95 * most * 3
    each = [len(worker.log) for worker in workers]
    assert max(each) - min(each) <= 2 + 0.2 * max(each)


def test_a_rate_flows_evenly() -> None:
    calls = polling([Caller(Accounts(), "w", [600, None])], 30.0)
    for second in range(29):
        assert 5 <= sum(second <= t < second + 1 for t in calls) <= 21


def test_what_is_given_back_is_granted_again() -> None:
    accounts = Accounts()
    one, other = (Caller(accounts, name, [600, None]) for name in ("a", "b"))
    assert one.ask(10, 0.0)["granted"] == [10, 100]
    assert other.ask(10, 0.0)["granted"] == [0, 0]
    one.have = [0.0, 0.0]
    one.ask(0, 0.0)
    assert other.ask(10, 0.0)["granted"] == [10, 100]


def test_a_call_that_needs_much_is_not_passed_by_small_ones() -> None:
    accounts = Accounts()
    about = {"kind": "rate", "terms": [None, 600], "have": [0, 0], "used": [0, 0], "bye": False}
    big = {**about, "gate": "g", "need": [1.0, 300.0], "want": [1.0, 300.0]}
    small = {**about, "gate": "g", "need": [1.0, 5.0], "want": [100.0, 500.0]}
    now, used = 0.0, 0.0
    while accounts.tell("v", "big", big, now)["granted"] == [0, 0]:
        said = {**small, "used": [0.0, used]}
        used += accounts.tell("v", "small", said, now)["granted"][1]
        now += 0.5
        assert now < 40
    assert used < 100


def test_a_call_larger_than_a_minute_s_tokens_still_gets_through() -> None:
    accounts = Accounts()
    about = {"kind": "rate", "terms": [None, 100], "gate": "g", "have": [0, 0], "used": [0, 0]}
    said = {**about, "need": [1.0, 500.0], "want": [1.0, 500.0]}
    waits = [now for now in range(120) if accounts.tell("v", "w", said, now)["granted"][1]]
    assert waits and 55 <= waits[0] <= 62


def test_what_a_silent_worker_has_counts_as_used() -> None:
    accounts = Accounts()
    one, other = (Caller(accounts, name, [2, None]) for name in ("a", "b"))
    one.ask(2, 0.0)
    assert not any(other.ask(2, t)["granted"][0] for t in range(1, 90))
    assert any(other.ask(2, t)["granted"][0] for t in range(90, 120))


# Budgets


@dataclass
class Spender:
    """A worker that pays calls from what it was granted."""

    accounts: Accounts
    name: str
    limits: list[float]
    have: float = 0.0
    used: float = 0.0
    mean: float | None = None
    flying: list[tuple[float, float]] = field(default_factory=list)
    chats: int = 0
    over: bool = False
    bound: float = 0.0

    def ask(self, want: float, *, starved: bool, heard: bool = True) -> Any:
        if starved:
            self.have = 0.0
        self.have = max(0.0, self.have)
        said = {
            "have": [self.have],
            "used": [self.used],
            "reserved": [sum(kept for kept, _ in self.flying)],
            "flying": len(self.flying),
            "chats": self.chats,
            "want": [want],
            "starved": starved,
        }
        about = {"kind": "budget", "terms": [self.limits, [0.0], [0.0]], "gate": "g"}
        told = self.accounts.tell("budget", self.name, {**about, **said}, 0.0)
        if heard:
            self.have += told["granted"][0]
            self.mean = told["mean"][0] if told["mean"] else None
            self.over = self.over or "over" in told
        return told

    def begin(self, cost: float) -> bool:
        kept = self.mean or 0.0
        if self.over or self.have <= 0 or self.have < kept:
            return False
        self.have -= kept
        self.flying.append((kept, cost))
        self.bound = sum(cost for _, cost in self.flying)
        return True

    def end(self, at: int) -> None:
        if self.flying:
            kept, cost = self.flying.pop(at % len(self.flying))
            self.have += kept - cost
            self.used += cost
            self.chats += 1


spending = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["ask", "starve", "begin", "begin", "end", "end", "lost", "die"]),
        st.floats(0.1, 60),
    ),
    max_size=200,
)


@given(acts=spending, limit=st.sampled_from([1.0, 50.0, 300.0]))
def test_a_budget_is_passed_by_no_more_than_the_calls_under_way(acts: Any, limit: float) -> None:
    accounts = Accounts()
    workers = [Spender(accounts, f"w{i}", [limit]) for i in range(3)]
    dead: list[Spender] = []
    for at, act, number in acts:
        worker = workers[at]
        if act in ("ask", "starve", "lost"):
            worker.ask(number, starved=act == "starve", heard=act != "lost")
        elif act == "begin":
            worker.begin(number)
        elif act == "end":
            worker.end(int(number))
        else:  # all that it had under way is paid, and nobody is told
            while worker.flying:
                worker.end(0)
            accounts.lose(worker.name, 0.0)
            dead.append(worker)
            workers[at] = Spender(accounts, f"{worker.name}'", [limit])
    for worker in workers:
        while worker.flying:
            worker.end(0)
    spent = sum(worker.used for worker in (*workers, *dead))
    assert spent <= limit + sum(worker.bound for worker in (*workers, *dead)) + 1e-6


@given(costs=st.lists(st.floats(1, 20), min_size=60, max_size=60), seed=st.integers(0, 999))
def test_a_budget_is_spent_to_the_last_call(costs: list[float], seed: int) -> None:
    accounts, limit, chance = Accounts(), 300.0, random.Random(seed)
    workers = [Spender(accounts, f"w{i}", [limit]) for i in range(3)]
    left = costs * 6
    for _ in range(3_000):
        worker = chance.choice(workers)
        if left and worker.begin(left[-1]):
            left.pop()
        elif worker.flying and chance.random() < 0.5:
            worker.end(0)
        else:
            worker.ask(50.0, starved=True)
        if all(worker.over for worker in workers) and not any(w.flying for w in workers):
            break
    assert all(worker.over for worker in workers)
    spent = sum(worker.used for worker in workers)
    mean = spent / sum(worker.chats for worker in workers)
    assert limit - 2 * mean - 20 <= spent


def test_no_more_of_a_budget_is_handed_out_than_there_is() -> None:
    accounts = Accounts()
    workers = [Spender(accounts, name, [100.0]) for name in ("a", "b", "c")]
    for worker in workers * 20:
        worker.ask(1_000, starved=False)
        assert sum(each.have for each in workers) <= 100
    assert sum(each.have for each in workers) > 90


def test_a_spent_budget_stays_spent_for_all() -> None:
    accounts = Accounts()
    one, other = (Spender(accounts, name, [10.0]) for name in ("a", "b"))
    one.ask(50, starved=True)
    assert one.begin(12)
    one.end(0)
    one.ask(50, starved=True)
    assert one.over
    told = other.ask(50, starved=True)
    assert told["over"] == {"spent": [12.0], "lost": [0.0], "chats": 1}


def test_a_lost_worker_takes_along_what_it_had_and_no_more() -> None:
    accounts = Accounts()
    one, other = (Spender(accounts, name, [100.0]) for name in ("a", "b"))
    one.ask(20, starved=True)
    one.begin(1)
    accounts.lose("a", 0.0)
    taken = 0.0
    while not other.over:
        other.ask(50, starved=False)
        while other.begin(1.0):
            other.end(0)
            taken += 1
        other.ask(50, starved=True)
    assert 79 <= taken <= 81


def test_what_was_spent_before_a_good_bye_counts_once() -> None:
    accounts = Accounts()
    one = Spender(accounts, "a", [100.0])
    one.ask(50, starved=True)
    assert one.begin(12)
    one.end(0)
    said = {"have": [0.0], "used": [12.0], "reserved": [0.0], "flying": 0, "chats": 1}
    about = {"kind": "budget", "terms": [[100.0], [0.0], [0.0]], "gate": "g", "want": [0.0]}
    accounts.tell("budget", "a", {**about, **said, "starved": False, "bye": True}, 0.0)
    told = accounts.tell("budget", "a", {**about, **said, "starved": True, "want": [999]}, 0.0)
    assert told["mean"] == [12.0] and told["granted"] == [44.0]


# Places


@dataclass
class Server:
    """An endpoint that works on so many calls at a time; others wait, or are refused."""

    slots: int
    latency: float = 0.5
    refuses: bool = False
    faults: float = 0.0


def drive(
    server: Server, looks: int = 400, *, start: int = 8, most: int = 4096, workers: int = 3
) -> tuple[list[float], float]:
    """Let workers with endless work share a server; return how many calls were under way.

    Calls are not followed one by one: each tenth of a second, the share of them ends that does.
    """
    accounts, now, limits, answered = Accounts(), 0.0, [], 0.0
    may = [0] * workers
    ended = [[0.0, 0.0, 0.0] for _ in range(workers)]
    for _ in range(looks):
        for i in range(workers):
            said = {
                "flying": may[i],
                "want": 10_000,
                "ended": [*map(int, ended[i][:2]), ended[i][2]],
            }
            about = {"kind": "concurrency", "terms": [start, most, 1, 2.0], "gate": "g"}
            may[i] = accounts.tell("e", f"w{i}", {**about, **said}, now)["may"]
        total = sum(may)
        limits.append(float(total))
        served = min(total, server.slots) if server.refuses else total
        seconds = server.latency * max(1.0, served / server.slots)
        for i in range(workers):
            ends = may[i] * 0.1 / seconds
            bad = 1 - served / total if total else 0.0
            good = ends * (1 - server.faults)
            ended[i][0] += good * (served / total if total else 0.0)
            ended[i][1] += ends * server.faults + ends * bad
            ended[i][2] += good * (served / total if total else 0.0) * seconds
            answered += good * (served / total if total else 0.0)
        now += 0.1
    return limits, answered / (now * server.slots / server.latency)


@pytest.mark.parametrize("slots", [4, 50, 600])
@pytest.mark.parametrize("refuses", [False, True])
def test_as_many_are_asked_as_an_endpoint_can_take(slots: int, refuses: bool) -> None:
    limits, share = drive(Server(slots, refuses=refuses))
    late = limits[200:]
    assert 0.4 * slots <= sum(late) / len(late) <= max(3.5 * slots, 20)
    assert share > 0.7


def test_refusals_that_have_other_reasons_cost_little() -> None:
    limits, _ = drive(Server(10_000, faults=0.2), most=500)
    assert sum(limits[200:]) / 200 > 0.85 * 500


def test_refusals_of_ours_halve_what_is_allowed() -> None:
    limits, _ = drive(Server(20, refuses=True), 60, start=500)
    assert limits[0] == 500 and min(limits[20:]) < 80


def test_latency_that_rises_for_other_reasons_is_taken_for_normal() -> None:
    accounts, now, ended, limits = Accounts(), 0.0, [0, 0, 0.0], []
    for step in range(400):
        latency = 0.2 if step < 100 else 1.0
        about = {"kind": "concurrency", "terms": [64, 64, 1, 2.0], "gate": "g"}
        said = {"flying": 64, "want": 100, "ended": [*map(int, ended[:2]), ended[2]]}
        may = accounts.tell("e", "w", {**about, **said}, now)["may"]
        limits.append(may)
        ended[0] += may * 0.1 / latency
        ended[2] += may * 0.1
        now += 0.1
    assert min(limits[100:]) == 32 and limits[-1] == 64 and sum(limits[150:]) / 250 > 58


def test_what_is_not_used_does_not_grow() -> None:
    accounts, now, ended = Accounts(), 0.0, [0, 0, 0.0]
    for _ in range(200):
        about = {"kind": "concurrency", "terms": [64, 4096, 1, 2.0], "gate": "g"}
        accounts.tell("e", "w", {**about, "flying": 5, "want": 8, "ended": list(ended)}, now)
        ended[0] += 5
        ended[2] += 0.5
        now += 0.1
    said = {**about, "flying": 5, "want": 5_000, "ended": list(ended)}
    assert accounts.tell("e", "w", said, now)["may"] == 64


@given(
    acts=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 50), st.booleans(), st.floats(0, 0.4)),
        max_size=100,
    ),
    limit=st.integers(1, 40),
)
def test_no_more_places_are_given_than_there_are(acts: Any, limit: int) -> None:
    accounts, now = Accounts(), 0.0
    may, flying = [0] * 4, [0] * 4
    about = {"kind": "concurrency", "terms": [limit, limit, 1, 2.0], "gate": "g"}
    for at, want, dies, later in acts:
        now += later
        if dies:
            accounts.lose(f"w{at}", now)
            may[at] = flying[at] = 0
            continue
        said = {"flying": flying[at], "want": want, "ended": [0, 0, 0.0]}
        may[at] = accounts.tell("e", f"w{at}", {**about, **said}, now)["may"]
        flying[at] = max(may[at], flying[at] - want % 3)
        assert sum(flying) <= limit


def test_places_of_a_lost_worker_are_given_to_others() -> None:
    accounts = Accounts()
    said = {"kind": "concurrency", "terms": [10, 10, 1, 2.0], "gate": "g", "ended": [0, 0, 0.0]}
    assert accounts.tell("e", "a", {**said, "flying": 0, "want": 99}, 0.0)["may"] == 10
    assert accounts.tell("e", "b", {**said, "flying": 0, "want": 99}, 0.1)["may"] == 0
    accounts.lose("a", 0.2)
    assert accounts.tell("e", "b", {**said, "flying": 0, "want": 99}, 0.3)["may"] == 10


def test_the_last_place_goes_round() -> None:
    accounts, turns = Accounts(), {"a": 0, "b": 0, "c": 0}
    said = {"kind": "concurrency", "terms": [1, 1, 1, 2.0], "gate": "g", "ended": [0, 0, 0.0]}
    for step in range(300):
        for name in turns:
            told = accounts.tell("e", name, {**said, "flying": 0, "want": 5}, step / 10)
            turns[name] += told["may"]
    assert min(turns.values()) > 50


@given(
    st.dictionaries(st.text(max_size=2), st.integers(0, 30)), st.integers(0, 60), st.integers(0, 9)
)
def test_shares_are_fair(wants: dict[str, int], total: int, turn: int) -> None:
    given_ = shares(wants, total, turn)
    assert all(0 <= given_[name] <= want for name, want in wants.items())
    assert sum(given_.values()) == min(total, sum(wants.values()))
    short = [given_[name] for name, want in wants.items() if given_[name] < want]
    assert max(given_.values(), default=0) - min(short, default=math.inf) <= 1


def test_accounts_of_two_runs_know_nothing_of_each_other() -> None:
    one, other = Accounts(), Accounts()
    first, second = Caller(one, "w", [60, None]), Caller(other, "w", [60, None])
    assert first.ask(9, 0.0)["granted"][0] == second.ask(9, 0.0)["granted"][0] > 0
