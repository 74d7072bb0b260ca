"""When checkpoints come: as often as is cheap, and often enough to let the past go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import Player, events, game, same

import daskagents as da
from daskagents.pacing import FIRST, FURTHEST, SHARE, Pace


@given(every=st.integers(1, 300), rounds=st.integers(0, 400), seconds=st.floats(0, 1e6))
def test_a_number_of_rounds_is_kept_to(every: int, rounds: int, seconds: float) -> None:
    pace = Pace(every)
    pace.took(seconds)
    assert pace.due(rounds, seconds) == (rounds >= every)


@given(
    rounds=st.lists(st.floats(0.001, 50.0), min_size=1, max_size=400),
    costs=st.lists(st.floats(0.001, 20.0), min_size=1, max_size=5),
)
def test_checkpoints_cost_little_and_let_the_past_go(
    rounds: list[float], costs: list[float]
) -> None:
    """Play rounds of so many seconds, with checkpoints that cost so much, one after another."""
    pace = Pace("auto")
    since, elapsed, last, made = 0, 0.0, None, 0
    for seconds in rounds:
        since, elapsed = since + 1, elapsed + seconds
        assert since <= (FIRST if last is None else FURTHEST)
        if pace.due(since, elapsed):
            if last is not None and since < FURTHEST:
                assert last <= SHARE * elapsed * (1 + 1e-9)
            last = costs[made % len(costs)]
            pace.took(last)
            since, elapsed, made = 0, 0.0, made + 1
        elif last is not None:
            assert last > SHARE * elapsed * (1 - 1e-9)


def test_nothing_is_due_where_nothing_was_done() -> None:
    pace = Pace("auto")
    assert not pace.due(0, 1e9)
    pace.took(0.0)
    assert not pace.due(0, 1e9)
    assert pace.due(1, 0.0)


@pytest.mark.parametrize("where", ["sync", "cluster"])
def test_results_do_not_depend_on_checkpoints(
    where: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = "sync" if where == "sync" else request.getfixturevalue("client1")
    monkeypatch.setattr("daskagents.pacing.FIRST", 2)

    def play(every: Any) -> Any:
        people = da.Population(Player, {"level": np.arange(60) % 5}, block_size=20)
        out = tmp_path / str(every)
        return da.run(
            game, people, rounds=9, seed=3, client=client, out=out, checkpoint_every=every
        )

    found = play("auto")
    made = [e["round"] for e in events(tmp_path / "auto") if e["event"] == "checkpoint"]
    assert made[0] == 2 and made[-1] == 9
    same(play(1), found)
    same(play(20), found)
    same(
        da.resume(tmp_path / "auto", client="sync", rounds=12),
        da.resume(tmp_path / "1", client="sync", rounds=12),
    )
    assert da.open_run(tmp_path / "auto").about["checkpoint_every"] == "auto"
