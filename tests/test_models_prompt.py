from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daskagents.message import Message
from daskagents.models.prompt import prompt

texts = st.text("ab", min_size=1, max_size=3)


def turn(said: str) -> list[Message]:
    """Return what is heard, and what is answered."""
    return [Message(said), Message(f"I say {said}", "assistant")]


@given(texts, texts, st.lists(texts, min_size=1, max_size=5))
def test_the_prompt_of_a_turn_begins_with_the_one_before(
    shared: str, own: str, heard: list[str]
) -> None:
    memory: list[Message] = []
    last: tuple[Message, ...] = ()
    for said in heard:
        asked = prompt([*memory, Message(said)], shared, own)
        assert asked[: len(last)] == last
        assert sorted(one.text for one in asked if one.role == "system") == sorted([shared, own])
        memory += turn(said)
        last = (*asked, memory[-1])


@given(texts, texts, texts, texts)
def test_agents_share_what_they_were_told_and_heard(
    shared: str, heard: str, one: str, other: str
) -> None:
    first, second = (prompt([Message(heard)], shared, own) for own in (one, other))
    assert first[:2] == second[:2] == (Message(shared, "system"), Message(heard))
    assert first[2] == Message(one, "system")


def test_no_parts() -> None:
    assert prompt([], "") == ()
    assert prompt([], "a", "b") == (Message("a\n\nb", "system"),)
    assert prompt([], "", "b") == (Message("b", "system"),)
    assert prompt([Message("hi")], "", "b") == (Message("hi"), Message("b", "system"))
