"""The journal as people read it: a table of all chats, one agent's conversation, what it took."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from daskagents.errors import UsageError
from daskagents.events import read_events
from daskagents.journal.entries import Chat, Entry, Head, Lapse
from daskagents.journal.segments import (
    Packed,
    journal_of,
    packed_of,
    read_block,
    read_packed,
    steps_of,
)
from daskagents.journal.texts import read_texts
from daskagents.journal.turns import add_turns, turns_of
from daskagents.message import Message
from daskagents.usage import Usage

if TYPE_CHECKING:
    import xarray as xr

_chats = msgspec.msgpack.Decoder(list[Entry | Lapse]).decode
_NUMBERS = ("calls", "prompt_tokens", "completion_tokens", "cached_tokens", "retries", "cost")


@dataclass(frozen=True)
class Noted:
    """One chat, and where in the run it was."""

    round: int
    step: int
    head: Head
    chat: Chat


def usage_of(folder: Path) -> Usage:
    """Return what all answers in a run's journal took."""
    journal, accepted = journal_of(folder), accepted_of(folder)
    total = Usage()
    for step in steps_of(journal):
        for found in _blocks(journal, step, accepted.get(step, {})):
            if isinstance(found, Packed):
                total += Usage(*found.usage)
            else:
                total = sum((chat.usage for _, chat in found), total)
    return total


def noted(
    folder: Path, rounds: set[int] | None = None, agent: int | None = None
) -> Iterator[Noted]:
    """Yield the chats of a run, by step, block and agent.

    Parameters
    ----------
    folder
        The run directory.
    rounds
        Those that are wanted; None for all.
    agent
        Whose; None for all.
    """
    journal, accepted = journal_of(folder), accepted_of(folder)
    of_step = _rounds(folder)
    for step in steps_of(journal):
        number = of_step.get(step, -1)
        if rounds is not None and number not in rounds:
            continue
        for found in _blocks(journal, step, accepted.get(step, {})):
            if isinstance(found, Packed):
                if agent is not None and not found.first <= agent <= found.last:
                    continue
                head = found.head
                found = [(head, chat) for chat in _chats(zlib.decompress(found.chats))]
            for head, chat in sorted(found, key=lambda one: (one[1].agent, one[1].call)):
                if agent is None or chat.agent == agent:
                    yield Noted(number, step, head, chat)


def _blocks(
    journal: Path, step: int, accepted: dict[int, str]
) -> Iterator[Packed | list[tuple[Head, Chat]]]:
    """Yield what counts of each block of a step."""
    folder, packed = journal / f"{step:06d}", dict[int, Packed]()
    if packed_of(journal, step).exists():
        packed = read_packed(packed_of(journal, step))
    loose = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    yield from (packed[block] for block in sorted(packed) if block not in loose)
    for block in loose:
        found = read_block(journal, step, block, accepted.get(block, ""))
        heads = [one.head for one in found.segments.values() if one.head is not None]
        heads += [packed[block].head] if block in packed else []
        if found.chats and heads:
            yield [(heads[0], chat) for chat in found.chats.values()]


def accepted_of(folder: Path) -> dict[int, dict[int, str]]:
    """Return the attempts that count, by step and block."""
    found: dict[int, dict[int, str]] = {}
    for event in read_events(folder / "events.jsonl"):
        if event["event"] == "done":
            pairs = zip(event.get("blocks", ()), event.get("attempts", ()), strict=True)
            # blocks whose answers were all there write no new segments
            found.setdefault(event["step"], {}).update({b: name for b, name in pairs if name})
    return found


def _rounds(folder: Path) -> dict[int, int]:
    """Return the round of each step."""
    found: dict[int, int] = {}
    for event in read_events(folder / "events.jsonl"):
        if event["event"] == "step":
            found[event["step"]] = event["round"]
    return found


def as_dataset(folder: Path, rounds: set[int] | None, agent: int | None) -> xr.Dataset:
    """Return the chats of a run as a table: one row for each."""
    import xarray as xr  # not above: workers, which look for one agent, would wait for it

    texts = read_texts(journal_of(folder))
    rows = [_row(one, texts) for one in noted(folder, rounds, agent)]
    columns: dict[str, Any] = {}
    for name, kind in _COLUMNS.items():
        dtype: Any = np.dtypes.StringDType() if kind is str else np.dtype(kind)
        columns[name] = ("chat", np.array([row[name] for row in rows], dtype))
    return xr.Dataset(columns)


_COLUMNS: dict[str, Any] = {
    "round": int,
    "step": int,
    "population": str,
    "agent": int,
    "call": int,
    "request": str,
    "answer": str,
    "error": str,
    "model": str,
    "endpoint": str,
    **dict.fromkeys(_NUMBERS[:-1], int),
    "cost": float,
    "began": float,
    "seconds": float,
}


def _row(one: Noted, texts: dict[str, str]) -> dict[str, Any]:
    chat = one.chat
    request = "\n".join(f"{turn.role}: {turn.text}" for turn in turns_of(chat, texts))
    return {
        "round": one.round,
        "step": one.step,
        "population": one.head.population,
        "agent": chat.agent,
        "call": chat.call,
        "request": request,
        "answer": chat.text if isinstance(chat, Entry) else "",
        "error": "" if isinstance(chat, Entry) else f"{chat.kind}: {chat.message}",
        "model": chat.model if isinstance(chat, Entry) else "",
        "endpoint": chat.endpoint,
        **{name: getattr(chat.usage, name) for name in _NUMBERS},
        "began": chat.began,
        "seconds": chat.seconds,
    }


def conversation_of(folder: Path, agent: int, population: str | None) -> list[Message]:
    """Return what one agent was asked and what it was answered, in order, without repetitions."""
    texts = read_texts(journal_of(folder))
    found: list[Message] = []
    names: set[str] = set()
    for one in noted(folder, agent=agent):
        if population is not None and one.head.population != population:
            continue
        names.add(one.head.population)
        add_turns(found, one.chat, texts)
    if len(names) > 1:
        raise UsageError(
            f"agent {agent} is in several populations: {', '.join(sorted(names))}; say which:"
            " conversation(agent=..., population=...)"
        )
    return found
