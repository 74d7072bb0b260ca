"""Chats of one agent, picked out of a journal that may be much larger than memory.

Of a packed step only the blocks are read that may have the agent; of the long texts only those
that its chats refer to.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import msgspec

from daskagents.errors import FolderError
from daskagents.journal.entries import Chat, Entry, Head, Lapse
from daskagents.journal.frames import frame_at, mapped, payload_at, skim_frames
from daskagents.journal.segments import Packed, journal_of, packed_of, read_segments
from daskagents.journal.texts import pick_texts

_packed = msgspec.msgpack.Decoder(Packed).decode
_chats = msgspec.msgpack.Decoder(list[Entry | Lapse]).decode
#: Bytes of a frame that say whose chats it has: a few small numbers.
_PEEK = 64


def chats_of(
    folder: Path, step: int, agent: int, accepted: Mapping[int, str], block: int | None = None
) -> list[tuple[Head, Chat]]:
    """Return an agent's chats in one step, in their order.

    Parameters
    ----------
    folder
        The run directory.
    step
        Its number.
    agent
        Whose.
    accepted
        The attempts that count, by block.
    block
        The block that the agent is in; None where that is not known, and all are looked at.

    Raises
    ------
    FolderError
        If its block is damaged.
    """
    journal = journal_of(folder)
    found: dict[int, tuple[Head, Chat]] = {}
    path = packed_of(journal, step)
    if path.exists():
        found |= {chat.call: (head, chat) for head, chat in _unpack(path, agent)}
    # of a round that is not closed, or asked for anew as the program had changed
    for place in sorted((journal / f"{step:06d}").glob("[0-9]*")):
        index = int(place.name)
        if block is not None and index != block:
            continue
        read = read_segments(journal, step, index, accepted.get(index, ""))
        heads = [one.head for one in read.segments.values() if one.head is not None]
        own = [chat for chat in read.chats.values() if chat.agent == agent] if heads else []
        found |= {chat.call: (heads[0], chat) for chat in own}
    return [found[call] for call in sorted(found)]


def _unpack(path: Path, agent: int) -> Iterator[tuple[Head, Chat]]:
    """Yield an agent's chats in a packed step."""
    with mapped(path) as data:
        for start, _ in skim_frames(data):
            first, last = _span(payload_at(data, start, _PEEK))
            if not first <= agent <= last:
                continue
            whole = frame_at(data, start)
            if whole is None:
                raise FolderError(
                    f"{path} is damaged from byte {start} on: answers that were paid for cannot"
                    " be read; restore the file from a copy"
                )
            found = _packed(whole.payload)
            for chat in _chats(zlib.decompress(found.chats)):
                if chat.agent == agent:
                    yield found.head, chat


def _span(beginning: bytes) -> tuple[int, int]:
    """Return the first and the last agent of a packed block, from where its frame begins."""
    numbers, at = [], 1  # behind the byte that says how many parts there are
    for _ in range(3):
        length = _LENGTHS.get(beginning[at], 0)
        number = int.from_bytes(beginning[at + 1 : at + 1 + length], "big")
        numbers.append(number if length else beginning[at])
        at += 1 + length
    return numbers[1], numbers[2]


#: How many bytes msgpack writes of a number that is none of the smallest, by the byte before it.
_LENGTHS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}


def texts_of(folder: Path, chats: list[Chat]) -> dict[str, str]:
    """Return the long texts that some chats refer to."""
    wanted = chain.from_iterable((turn[2] for turn in chat.asked.turns) for chat in chats)
    return pick_texts(journal_of(folder), set(wanted))
