"""The journal of a run, without what is removed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from daskagents.afterwards.removal import Removal
from daskagents.journal.entries import Asked, Chat, Entry, Head, Lapse
from daskagents.journal.frames import read_frames
from daskagents.journal.reading import accepted_of
from daskagents.journal.segments import (
    journal_of,
    packed_of,
    read_block,
    read_packed,
    steps_of,
    write_packed,
)
from daskagents.journal.texts import Texts, text_in

_chats = msgspec.msgpack.Decoder(list[Entry | Lapse]).decode


def copy_journal(source: Path, target: Path, removal: Removal) -> None:
    """Copy the chats of a run directory that count, packed; damaged ones are left out.

    Parameters
    ----------
    source, target
        The run directories.
    removal
        What is removed.
    """
    journal, copy = journal_of(source), journal_of(target)
    writer = Texts(copy)
    try:
        known = dict(_copy_texts(journal, writer, removal))
        accepted = accepted_of(source)
        for step in steps_of(journal):
            blocks = (
                (
                    block,
                    _renamed(head, removal),
                    [_without(chat, known, writer, removal) for chat in chats],
                )
                for block, head, chats in _blocks(journal, step, accepted.get(step, {}))
            )
            write_packed(packed_of(copy, step), blocks)
    finally:
        writer.close()


def _renamed(head: Head, removal: Removal) -> Head:
    name = removal.names.get(head.population, head.population)
    return msgspec.structs.replace(head, population=name)


def chats_in(folder: Path) -> Iterator[tuple[int, Head, Chat]]:
    """Yield all chats of a run that count, with their step and whose they are."""
    journal, accepted = journal_of(folder), accepted_of(folder)
    for step in steps_of(journal):
        for _, head, chats in _blocks(journal, step, accepted.get(step, {})):
            yield from ((step, head, chat) for chat in chats)


def _copy_texts(journal: Path, writer: Texts, removal: Removal) -> Iterator[tuple[str, str]]:
    """Yield the references of long texts, then and now; they are written as they are read."""
    for path in sorted((journal / "texts").glob("*")):
        for each in read_frames(path.read_bytes())[0]:
            reference, text = text_in(each.payload)
            yield reference, writer.refer(removal.said("journal", text))


def _blocks(
    journal: Path, step: int, accepted: Mapping[int, str]
) -> Iterator[tuple[int, Head, list[Chat]]]:
    """Yield the chats of each block of a step, with the head of one that wrote some."""
    packed = read_packed(packed_of(journal, step)) if packed_of(journal, step).exists() else {}
    folder = journal / f"{step:06d}"
    loose = {int(path.name) for path in folder.iterdir() if path.name.isdigit()}
    for block in sorted(loose | packed.keys()):
        if block in loose:
            found = read_block(journal, step, block, accepted.get(block, ""))
            heads = [one.head for one in found.segments.values() if one.head is not None]
            chats = [found.chats[key] for key in sorted(found.chats)]
        else:
            heads, chats = [], _chats(zlib.decompress(packed[block].chats))
        heads += [packed[block].head] if block in packed else []
        if chats and heads:
            yield block, heads[0], chats


def _without(chat: Chat, known: Mapping[str, str], writer: Texts, removal: Removal) -> Chat:
    """Return a chat without what is removed; its digest, by which it could be found, is gone."""

    def refer(reference: str) -> str:
        if reference in known:
            return known[reference]
        return writer.refer(removal.said("journal", reference)) if reference[:1] != "\0" else ""

    turns = [
        (role, removal.speaker("journal", name), refer(t)) for role, name, t in chat.asked.turns
    ]
    wanted = writer.refer(removal.wanted("journal", chat.asked.wanted))
    changes: dict[str, Any] = {"asked": Asked(b"", turns, wanted)}
    changes["endpoint"] = removal.text("journal", chat.endpoint)
    if isinstance(chat, Entry):
        changes |= {
            "text": removal.said("journal", chat.text),
            "value": removal.walk("journal", chat.value, removal.said),
            "model": removal.text("journal", chat.model),
            "reasoning": removal.said("journal", chat.reasoning),
            "probabilities": removal.walk("journal", chat.probabilities, removal.said),
        }
        if removal.texts and chat.probabilities:
            changes["probabilities"] = dict(enumerate(chat.probabilities.values()))
    else:
        changes["message"] = removal.said("journal", chat.message)
    return msgspec.structs.replace(chat, **changes)
