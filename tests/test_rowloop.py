"""One object stands for all rows of a block: no row may see what another left."""

from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daskagents as da
from daskagents.block import Call, Charter, Outcome, first_block
from daskagents.forms import Form, as_numpy
from daskagents.step import run_step

SEEN: list[Any] = []


def step(cls: type[da.Agent], n: int = 5, form: Form | None = None) -> Outcome:
    """Let `n` agents reply."""
    block = first_block(cls, 0, n, {})
    call = Call(0, "reply", form)
    return run_step(Charter(cls, "p", 1, None), block, call, da.Message(), loop=lambda: None)  # type: ignore[arg-type, return-value]


def replies(outcome: Outcome) -> dict[str, list[Any]]:
    return {name: as_numpy(column).tolist() for name, column in outcome.replies.items()}


class Base(da.Agent):
    place: float = 0.0


class Cached(Base):
    """Keeps its answers in a cache that goes by the object."""

    @cache  # noqa: B019
    def number(self) -> int:
        return self.id

    def reply(self, message):
        return {"number": self.number()}


class Kept(Base):
    """Leaves itself behind."""

    def reply(self, message):
        self.place = float(self.id)
        SEEN.append(self)
        return {"number": self.id}


class Bound(Kept):
    """Leaves a method behind, which holds it."""

    def reply(self, message):
        self.place = float(self.id)
        SEEN.append(self.where)
        return {"number": self.id}

    def where(self) -> float:
        return self.place


class State(Base):
    """Leaves its values behind, and replies them."""

    def reply(self, message):
        self.place = float(self.id)
        SEEN.append(vars(self))
        return vars(self)


class Odd(Base):
    """Assigns a name that is no field, now and then."""

    text: str = ""

    def reply(self, message):
        if self.id == 2:
            self.palce = 7.0
        elif self.id == 3:
            self.text = "three"
        return {"place": getattr(self, "palce", 0.0), "text": self.text}


class Torn(Base):
    """Deletes a field, now and then."""

    def reply(self, message):
        if self.id % 2:
            del self.place
        else:
            self.place = 1.0
        return {"number": self.id}


@pytest.mark.parametrize("form", [None, Form((("number", "number"),))])
@pytest.mark.parametrize("cls", [Cached, Kept, Bound])
def test_an_agent_that_is_kept_stays_itself(cls: type[da.Agent], form: Form | None) -> None:
    SEEN.clear()
    assert replies(step(cls, form=form)) == {"number": [0, 1, 2, 3, 4]}
    assert [kept() if callable(kept) else kept.place for kept in SEEN] in ([], [0, 1, 2, 3, 4])


@pytest.mark.parametrize("form", [None, Form((("place", "number"),))])
def test_values_that_are_kept_stay_what_they_were(form: Form | None) -> None:
    SEEN.clear()
    assert replies(step(State, form=form)) == {"place": [0, 1, 2, 3, 4]}
    assert [state["place"] for state in SEEN] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("form", [None, Form((("place", "number"), ("text", "text")))])
def test_what_one_row_assigns_is_not_there_for_the_next(form: Form | None) -> None:
    outcome = step(Odd, form=form)
    assert outcome.failed.tolist() == [False, False, True, False, False]
    assert "palce" in str(outcome.first_failure)
    assert replies(outcome)["text"] == ["", "", "", "three", ""]
    assert outcome.block.columns["text"].nbytes >= 5
    assert np.isnan(replies(outcome)["place"][2])


def test_a_row_that_deletes_a_field_fails_alone() -> None:
    outcome = step(Torn)
    assert outcome.failed.tolist() == [False, True, False, True, False]
    assert as_numpy(outcome.block.columns["place"]).tolist() == [1.0, 0.0, 1.0, 0.0, 1.0]


class Said(Base):
    """Replies what the test says, by id."""

    what: ClassVar[list[Any]] = []

    def reply(self, message):
        said = self.what[self.id]
        if isinstance(said, Exception):
            raise said
        self.place = 1.0
        return said


FORM = Form((("a", "number"), ("b", "text")))


class OwnDict(dict):  # type: ignore[type-arg]
    pass


said = st.one_of(
    st.fixed_dictionaries({"a": st.floats(allow_nan=False), "b": st.text()}),
    st.fixed_dictionaries({"b": st.text(), "a": st.integers() | st.booleans()}).map(OwnDict),
    st.fixed_dictionaries({"a": st.text(), "b": st.text()}),
    st.fixed_dictionaries({"a": st.floats(), "c": st.text()}),
    st.sampled_from([None, 1.0, {}, {"a": 1, "b": "x", "c": 2}, ValueError("no")]),
)


@given(st.lists(said, min_size=1, max_size=12))
def test_replies_by_name_are_those_looked_at_one_by_one(what: list[Any]) -> None:
    Said.what = what
    outcome = step(Said, len(what), FORM)
    for at, reply in enumerate(what):
        Said.what = [reply]
        alone = step(Said, 1, FORM)
        assert alone.failed[0] == outcome.failed[at]
        for name in ("a", "b"):
            one, all_ = replies(alone)[name][0], replies(outcome)[name][at]
            assert one == all_ or (one != one and all_ != all_)
        places = [as_numpy(o.block.columns["place"])[i] for o, i in ((alone, 0), (outcome, at))]
        assert places[0] == places[1] == (0.0 if outcome.failed[at] else 1.0)
