from __future__ import annotations

import math
from random import Random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from test_models_schema import Everything, Side, answers, bounded, form

from daskagents.models import schema
from daskagents.models.kinds import kind_of
from daskagents.models.samples import sample


@given(answers, st.integers(0, 2**32))
def test_a_sample_is_read_back(kind: Any, seed: int) -> None:
    drawn = sample(kind, Random(seed))
    whole = {"answer": drawn} if kind_of(kind).wrapped else drawn
    assert schema.read(msgspec.json.encode(whole).decode(), kind) == drawn


@given(st.integers(0, 2**32))
def test_a_sample_of_numbers_without_bounds_is_from_0_to_100(seed: int) -> None:
    drawn = sample(Everything, Random(seed))
    assert 0 <= drawn.number <= 100
    assert drawn.count in range(4, 10)
    assert len(drawn.pair) == 2


def test_a_sample_takes_every_choice() -> None:
    drawn = [sample(Everything, Random(seed)) for seed in range(60)]
    assert {one.side for one in drawn} == set(Side)
    assert {one.vote for one in drawn} == {"up", "down"}
    assert {one.yes for one in drawn} == {True, False}
    assert {one.maybe is None for one in drawn} == {True, False}


def test_a_range_that_is_one_number() -> None:
    cls = form(bounded(float, 0.3, 0.3, (False, False)))
    assert math.isclose(sample(cls, Random(1)).part, 0.3)
