"""Two runs are compared: where they part, and what there is to compare at all."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from worlds import Player

import daskagents as da
from daskagents.comparing import compare


def played(people: Any, rounds: int = 2) -> Iterator[Any]:
    for number in range(rounds):
        if number == 2:
            raise ValueError("here it ends")
        yield {"guess": people.reply(float(number))["guess"]}


def test_runs_of_other_lengths_and_of_none(tmp_path: Path) -> None:
    def play(name: str, **more: Any) -> Path:
        da.run(played, da.Population(Player, 5), client="sync", out=tmp_path / name, **more)
        return tmp_path / name

    one, other = play("one"), play("other", rounds=1)
    assert compare(one, one).agree and compare(one, one).rounds == 2
    found = compare(one, other)
    assert found.agree and found.rounds == 1 and found.settings["rounds"] == ("2", "1")
    parted = compare(one, play("seeded", seed=1))
    assert not parted.agree and "in round 0 'guess' of agent 0" in str(parted)
    empty = compare(one, play("none", rounds=0))
    assert not empty.agree and "there is nothing to compare" in str(empty)
    with pytest.raises(ValueError, match="here it ends"):
        play("cut", rounds=3)
    assert compare(one, tmp_path / "cut").rounds == 2


def test_zeros_of_two_signs_are_two_numbers(tmp_path: Path) -> None:
    def zeros(people: Any, zero: float, nan: float) -> Iterator[Any]:
        yield {"zero": people.reply()["guess"] * zero, "nan": nan, "one": zero}

    def play(name: str, *given: float) -> Path:
        da.run(zeros, da.Population(Player, 3), *given, client="sync", out=tmp_path / name)
        return tmp_path / name

    one = play("one", 0.0, math.nan)
    assert compare(one, play("same", 0.0, -math.nan)).agree
    parted = compare(one, play("other", -0.0, math.nan))
    assert not parted.agree and re.search(r"'zero' of agent \d: -?0.0 \| -?0.0", parted.parting)
