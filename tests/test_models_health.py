from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_models import final, passing

from daskagents.models import Dummy
from daskagents.models.health import Member, Members


def members(
    weights: list[float], failures: int = 3, pause: float = 1.0, longest: float = 8.0
) -> Members:
    models = [Dummy(model=str(at)) for at in range(len(weights))]
    return Members(models, weights, failures, pause, longest)


def picked(found: Members) -> Member:
    member = found.pick(0.0)
    assert member is not None
    return member


weights = st.lists(st.floats(0.1, 10), min_size=1, max_size=5)


@given(weights, st.integers(1, 300))
def test_one_after_the_other_goes_by_weight(weights: list[float], times: int) -> None:
    found = members(weights)
    for _ in range(times):
        member = picked(found)
        member.begin(1)
        member.end(1)
    turns = [member.turn for member in found.all]
    assert max(turns) - min(turns) <= 1 / min(weights) + 1e-9
    assert sum(turn * weight for turn, weight in zip(turns, weights, strict=True)) == pytest.approx(
        times
    )


@given(weights, st.integers(1, 300), st.data())
def test_what_is_under_way_goes_by_weight(
    weights: list[float], times: int, data: st.DataObject
) -> None:
    found = members(weights)
    for _ in range(times):
        picked(found).begin(data.draw(st.integers(1, 3)))
    loads = [member.in_flight / member.weight for member in found.all]
    assert max(loads) - min(loads) <= 3 / min(weights) + 1e-9


def test_who_is_slow_gets_less() -> None:
    found, under_way, given = members([1, 1]), list[tuple[int, Member]](), {0: 0, 1: 0}
    takes = {id(found.all[0]): 2, id(found.all[1]): 10}
    for now in range(2_000):
        for due, member in [one for one in under_way if one[0] <= now]:
            member.end(1)
            under_way.remove((due, member))
        member = picked(found)
        member.begin(1)
        under_way.append((now + takes[id(member)], member))
        given[found.all.index(member)] += 1
    assert 3 < given[0] / given[1] < 6


def test_out_and_back() -> None:
    found = members([1, 1])
    first, second = found.all
    for _ in range(2):
        found.failed(first, passing(), 0.0)
    found.succeeded(first)
    assert not found.some_out
    for now in range(3):
        assert first.back_at is None
        found.failed(first, passing(), float(now))
    assert first.back_at is not None and 2.75 <= first.back_at <= 3.0
    assert [found.pick(0.0), found.pick(0.0, [second])] == [second, None]
    assert list(found.due(2.7)) == []
    assert list(found.due(3.0)) == [first]
    assert list(found.due(3.0)) == []  # it is asked already

    found.answered(first)
    first.turn = second.turn = 0.0
    assert picked(found) is first
    first.begin(1)
    assert picked(found) is second and found.pick(0.0, [second]) is None  # a single chat proves it
    first.end(1)
    found.succeeded(first)
    first.begin(1)
    assert found.pick(0.0, [second]) is first


def test_pauses_grow_until_it_has_answered() -> None:
    found = members([1], failures=1)
    (only,) = found.all
    pauses, now = [], 0.0
    for turn in range(6):
        if turn % 2:  # it says that it is back, and is not
            found.answered(only)
            found.failed(only, passing(), now)
        elif turn:
            found.silent(only, passing(), now)
        else:
            found.failed(only, passing(), now)
        assert only.back_at is not None
        pauses.append(only.back_at - now)
        now = only.back_at
        assert list(found.due(now)) == [only]
    for pause, bound in zip(pauses, [1, 2, 4, 8, 8, 8], strict=True):
        assert 0.75 * bound <= pause <= bound
    found.answered(only)
    found.succeeded(only)
    found.failed(only, passing(429, wait=30.0), 0.0)
    assert only.back_at == 30.0  # as it asked for
    assert only.wait(10.0, None) == 20.0
    assert only.wait(29.0, passing(wait=5.0)) == 5.0


def test_an_answer_that_was_under_way_lets_it_in() -> None:
    found = members([1, 1], failures=1)
    first, second = found.all
    second.begin(7)
    second.end(7)
    found.failed(first, passing(), 0.0)
    found.succeeded(first)
    assert not found.some_out and first.back_at is None
    assert first.turn == second.turn == 7  # it has no claim to what it missed


@pytest.mark.parametrize("status", [401, 403, 404])
def test_who_takes_nothing_of_ours_is_out_at_once_and_logged_once(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    found = members([1, 1])
    with caplog.at_level(logging.INFO, "daskagents"):
        for _ in range(3):
            found.failed(found.all[0], final(status), 0.0)
            found.answered(found.all[0])
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO", "INFO", "INFO", "INFO", "INFO"]
    said = caplog.records[0].getMessage()
    assert said == (
        f"1 (Dummy) of a pool of 2 models is left out for now, 1 can be asked: status {status}"
    )


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=60), weights)
def test_whatever_happens_it_stays_sound(events: list[Any], weights: list[float]) -> None:
    found = members(weights, failures=2)
    for now, (event, at) in enumerate(events):
        member = found.all[at % len(found.all)]
        if event == 0:
            found.succeeded(member)
            assert member.back_at is None
        elif event == 1:
            found.failed(member, passing(), now)
        elif member.back_at is not None and event == 2:
            found.silent(member, passing(), now)
            assert member.back_at > now
        elif event == 3:
            found.answered(member)
            assert member.back_at is None
        assert found.some_out == any(one.back_at is not None for one in found.all)
        assert all(one.pause <= 8.0 for one in found.all)
        chosen = found.pick(0.0)
        assert (chosen is None) == all(one.back_at is not None for one in found.all)


def test_who_asks_to_be_left_alone_is_the_last_choice() -> None:
    found = members([1, 1, 1])
    first, second, _ = found.all
    found.failed(first, passing(429, wait=10.0), 0.0)
    found.failed(second, passing(429, wait=5.0), 0.0)
    for _ in range(9):
        picked(found).begin(1)
    assert [member.in_flight for member in found.all] == [0, 0, 9]
    assert found.pick(5.0) is second
    found.failed(found.all[2], passing(429, wait=60.0), 5.0)
    second.begin(1)
    assert found.pick(5.1) is second  # it is not asked to be left alone any more
    found.failed(second, passing(429, wait=60.0), 5.0)
    assert found.pick(5.1) is first  # of those that all are
