from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskagents.fake_server.limits import Limiter
from daskagents.fake_server.script import Limits


def test_no_more_is_saved_up_than_the_window_holds() -> None:
    limiter = Limiter(Limits(requests=60, window=3), now=0)
    waits = [limiter.wait(0, now=1000) for _ in range(4)]
    assert waits == [0, 0, 0, pytest.approx(1)]


def test_what_is_refused_is_not_counted() -> None:
    limiter = Limiter(Limits(requests=60, tokens=600, window=1), now=0)
    assert limiter.wait(10, now=0) == 0
    assert [limiter.wait(10, now=0) for _ in range(3)] == [pytest.approx(1)] * 3
    assert limiter.wait(10, now=1) == 0


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 30)), max_size=60), st.integers(1, 9))
def test_never_more_than_the_limit(wanted: list[tuple[float, int]], window: int) -> None:
    limiter = Limiter(Limits(tokens=600, window=window), now=0)
    now, passed = 0.0, []
    for pause, tokens in wanted:
        now += pause
        wait = limiter.wait(tokens, now)
        if wait == 0:
            passed.append((now, tokens))
    # from any moment to any other: what is saved up, what refills, and one that is too large
    for first, (begin, _) in enumerate(passed):
        whole = 0
        for end, tokens in passed[first:]:
            whole += tokens
            assert whole <= 10 * (window + end - begin) + 30


@given(st.integers(1, 100))
def test_who_waits_as_told_passes(tokens: int) -> None:
    limiter = Limiter(Limits(tokens=600, window=2), now=0)
    while (told := limiter.wait(tokens, now=0)) == 0:
        pass
    assert limiter.wait(tokens, now=told - 1e-3) > 0
    assert limiter.wait(tokens, now=told + 1e-9) == 0
