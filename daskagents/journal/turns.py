"""Turns: a conversation, put together from requests that repeat what was said before."""

from __future__ import annotations

from collections.abc import Mapping

from daskagents.journal.entries import Chat, Entry
from daskagents.journal.texts import text_of
from daskagents.message import Message


def turns_of(chat: Chat, texts: Mapping[str, str]) -> list[Message]:
    """Return the messages of a request; a text that cannot be read any more says so."""
    return [Message(text_of(text, texts), role, name) for role, name, text in chat.asked.turns]


def add_turns(found: list[Message], chat: Chat, texts: Mapping[str, str]) -> None:
    """Add to a conversation what a chat says that is new, and its answer."""
    turns = [turn for turn in turns_of(chat, texts) if turn.role != "system"]
    if isinstance(chat, Entry):
        turns.append(Message(chat.text, "assistant"))
    found += turns[_known(found, turns) :]


def _known(found: list[Message], turns: list[Message]) -> int:
    """Return how many turns a conversation ends with already: what an agent remembers is sent."""
    for length in range(min(len(found), len(turns)), 0, -1):
        if found[-length:] == turns[:length]:
            return length
    return 0
