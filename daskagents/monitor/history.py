"""One agent of a run: its replies over the rounds, its state, its failures, what it was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from daskagents.block import Block
from daskagents.checked import Checked
from daskagents.errors import UsageError
from daskagents.events import read_events
from daskagents.failures import each_failure
from daskagents.journal.entries import Chat
from daskagents.journal.picked import chats_of, texts_of
from daskagents.journal.reading import accepted_of
from daskagents.journal.turns import add_turns
from daskagents.mail import WORKFLOW
from daskagents.message import Message
from daskagents.monitor.finding import PAGE, again
from daskagents.monitor.plain import CELL, TEXT, plain
from daskagents.monitor.stored import Stored, items_of

#: Texts that are read for one agent's page at most: they stand together with those of all others.
_TEXTS = 8_000_000


def history(
    folder: str | Path, population: str, agent: int, stop: int | None = None
) -> dict[str, Any]:
    """Return what an agent replied in 50 rounds, where it failed, what it was given and has now.

    Parameters
    ----------
    folder
        The run directory.
    population
        Its population; "" for the first.
    agent
        Its id.
    stop
        The round after the last one; by default the end.

    Returns
    -------
    dict
        ``id``, ``population``, ``agents`` (how many), ``rounds`` (in all), ``given``; ``of``, the
        rounds that are told of; ``replies``, by name a value for each; ``failed``, a flag for each;
        ``failures`` in them; ``state``, or ``why`` there is none; ``notes``, what is left out.

    Raises
    ------
    FolderError, UsageError
        If there is no such run, or no such agent in it.
    """
    return again(lambda: _history(Stored(Path(folder), population), agent, stop))


def _history(stored: Stored, agent: int, stop: int | None) -> dict[str, Any]:
    if not 0 <= agent < stored.n:
        raise UsageError(
            f"{stored.name!r} has no agent {agent}; its agents are 0 to {stored.n - 1:,}"
        )
    end = stored.rounds if stop is None else max(0, min(stop, stored.rounds))
    of, notes = range(max(0, end - PAGE), end), list[str]()
    replies = {
        name: _over(stored, array, agent, of, notes) for name, array in stored.replies.items()
    }
    flags = [False] * len(of)
    if stored.failed is not None:
        flags = [bool(flag) for flag in _over(stored, stored.failed, agent, of, notes)]
    try:
        now, why = state(stored, agent), ""
    except UsageError as error:
        now, why = None, str(error)
    # of a round that is not closed as well: too many failures in it may have stopped the run
    bad = {number for number, flag in zip(of, flags, strict=True) if flag} | {stored.rounds}
    return {
        "id": agent,
        "population": stored.name,
        "agents": stored.n,
        "rounds": stored.rounds,
        "given": {name: _given(array, agent) for name, array in stored.given.items()},
        "of": list(of),
        "replies": replies,
        "failed": flags,
        "failures": _failures(stored, agent, bad),
        "state": now,
        "why": why,
        "notes": notes,
    }


def _over(stored: Stored, array: Any, agent: int, of: range, notes: list[str]) -> list[Any]:
    """Return an agent's values of one variable over some rounds; one chunk is held at a time."""
    found: list[Any] = [None] * len(of)
    window, width = (int(length) for length in array.chunks)
    text = array.dtype.kind not in "fiub"
    read = 0
    for first in range(of.start // window * window, of.stop, window)[::-1] if of else ():
        start, stop = max(first, of.start), min(first + window, of.stop)
        read += window * width if text else 0
        if read > _TEXTS and stop < of.stop:
            name = array.path.rpartition("/")[2]
            notes.append(
                f"{name}: of rounds {stop} to {of.stop - 1} only, as the texts of"
                f" {stored.n:,} agents stand together"
            )
            break
        values = Checked(array)[start:stop, agent : agent + 1][:, 0]
        found[start - of.start : stop - of.start] = [plain(value) for value in values]
    return found


def _given(array: Any, agent: int) -> Any:
    inside = agent < array.shape[0]
    return plain(Checked(array)[agent : agent + 1][0], TEXT) if inside else None


def _failures(stored: Stored, agent: int, rounds: set[int]) -> list[dict[str, Any]]:
    """Return why an agent failed in some rounds, the last failures first."""
    names = ("round", "step", "error", "message", "where", "answer")
    found = [
        {name: plain(failure[name], TEXT) for name in names}
        for failure in each_failure(stored.folder, rounds)
        if failure["agent"] == agent and failure["population"] == stored.name
    ]
    return found[::-1][:PAGE]


def state(stored: Stored, agent: int) -> dict[str, Any]:
    """Return an agent's state as the newest checkpoint has it.

    Returns
    -------
    dict
        ``round``, after how many rounds; ``values`` by field; ``memory``, the last messages that
        it remembers, of ``remembers`` in all; ``inbox``, what waits for it, of ``waiting`` in all.

    Raises
    ------
    UsageError
        If there is no checkpoint, or the agent is not in it.
    """
    about, _ = stored.checkpoint
    block = stored.block_of(agent)
    if block is None:
        raise UsageError(f"agent {agent} is not in the checkpoint of round {about.round}")
    row = np.array([agent - block.first])
    values, memory = {}, list[Any]()
    for name, column in block.columns.items():
        (value,) = items_of(column.take(row), stored.fields.get(name, "Any"))
        if name == "_turns":
            memory = value or []
        else:
            values[name] = plain(value, TEXT)
    inbox = _inbox(block, agent)
    return {
        "round": about.round,
        "values": values,
        "memory": [
            {"content": plain(content, TEXT), "role": role, "name": plain(name)}
            for content, role, name in memory[-PAGE:]
        ],
        "remembers": len(memory),
        "inbox": inbox[:PAGE],
        "waiting": len(inbox),
    }


def _inbox(block: Block, agent: int) -> list[dict[str, Any]]:
    """Return the messages that wait for an agent."""
    if block.mail is None:
        return []
    own = block.mail.take(block.mail.to == agent)
    pairs = zip(own.sender.tolist(), own.contents(), strict=True)
    return [
        {
            "sender": "the workflow" if sender == WORKFLOW else f"agent {sender}",
            "content": plain(content, CELL),
        }
        for sender, content in pairs
    ]


def conversation(
    folder: str | Path, population: str, agent: int, before: int | None = None
) -> dict[str, Any]:
    """Return what an agent was asked and answered in its last chats, at most 50.

    What it remembers and sends along again is left out. Of the journal only the blocks are read
    that have the agent; but all files of long texts are gone through, to find those of its own.

    Parameters
    ----------
    folder, population, agent
        Whose.
    before
        A step; only chats before it.

    Returns
    -------
    dict
        ``turns``, the last 50, each with ``role``, ``name``, ``content`` and the ``round``, -1 in
        one that is not closed; ``before``, to ask for earlier chats, None where there are none.
    """
    folder = Path(folder)
    stored = Stored(folder, population)
    if not (folder / "journal").is_dir():
        return {"turns": [], "before": None}
    accepted, steps = accepted_of(folder), _steps(stored)
    numbers = [step for step in steps if before is None or step < before]
    chats: list[tuple[int, list[Chat]]] = []
    while numbers and sum(len(some) for _, some in chats) < PAGE:
        step = numbers.pop()
        block = _block(stored, agent) if not steps[step]["method"].startswith("play(") else None
        found = chats_of(folder, step, agent, accepted.get(step, {}), block)
        own = [chat for head, chat in found if head.population == stored.name]
        if own:
            chats.append((step, own))
    turns = _turns(folder, chats[::-1], steps)
    first = chats[-1][0] if chats else None
    return {"turns": turns[-PAGE:], "before": first if numbers else None}


def _turns(
    folder: Path, chats: list[tuple[int, list[Chat]]], steps: dict[int, dict[str, Any]]
) -> list[dict[str, Any]]:
    texts = texts_of(folder, [chat for _, some in chats for chat in some])
    found: list[Message] = []
    rounds: list[int] = []
    for step, some in chats:
        for chat in some:
            add_turns(found, chat, texts)
            rounds += [steps[step]["round"]] * (len(found) - len(rounds))
    return [
        {
            "role": turn.role,
            "name": plain(turn.name),
            "content": plain(turn.content, TEXT),
            "round": number,
        }
        for turn, number in zip(found, rounds, strict=True)
    ]


def _steps(stored: Stored) -> dict[int, dict[str, Any]]:
    """Return the steps that a population took, by number."""
    every = read_events(stored.folder / "events.jsonl")
    own = (e for e in every if e["event"] == "step" and e["population"] == stored.name)
    return dict(sorted((event["step"], event) for event in own))


def _block(stored: Stored, agent: int) -> int | None:
    """Return the block of an agent; None where that does not follow from its id."""
    size = int(stored.said.get("block_size", 0))
    return agent // size if size and agent < int(stored.said["agents"]) else None
