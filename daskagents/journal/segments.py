"""Segments: the files of a journal. One attempt at one step of one block writes one of them.

::

    journal/000012/00003/ab12cd34ef56/answers   what an attempt at block 3 of step 12 wrote
    journal/000012/packed                       the same of all blocks, once their round is closed
    journal/texts/0123456789ab                  long texts of requests, by process

An attempt makes its own folder before it looks for those of others, for a network file system
then lists the folder anew. It opens its file when there is an answer to write.
"""

from __future__ import annotations

import os
import shutil
import uuid
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgspec

from daskagents.errors import FolderError, RunError
from daskagents.journal.entries import (
    Chat,
    Entry,
    Head,
    Lapse,
    Numbers,
    Record,
    Taken,
    decode,
    encode,
)
from daskagents.journal.frames import Damage, frame, read_frames

FORMAT = 1
#: The key of a chat within a step of a block: the agent, and which of its chats it is.
Key = tuple[int, int]


def journal_of(folder: str | os.PathLike[str]) -> Path:
    """Return where the journal of a run directory is."""
    return Path(folder) / "journal"


def folder_of(journal: Path, step: int, block: int) -> Path:
    """Return the folder of all attempts at one step of one block."""
    return journal / f"{step:06d}" / f"{block:05d}"


def packed_of(journal: Path, step: int) -> Path:
    """Return the file of a step whose round is closed."""
    return journal / f"{step:06d}" / "packed"


@dataclass
class Segment:
    """What one attempt wrote, as far as it can be read."""

    path: Path
    head: Head | None = None
    chats: list[tuple[Chat, int]] = field(default_factory=list)
    taken: list[tuple[str, int]] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)

    @property
    def attempt(self) -> str:
        """The attempt's name."""
        return self.path.parent.name


def read_segment(path: Path) -> Segment:
    """Read a segment; what is damaged is left out and named."""
    found = Segment(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # nothing was answered yet
        return found
    frames, found.damages = read_frames(data)
    for each in frames:
        record = _decode(each.payload, path, each.start)
        if isinstance(record, Head):
            found.head = record
        elif isinstance(record, Taken):
            found.taken = record.attempts
        else:
            found.chats.append((record, each.end))
    return found


def _decode(payload: bytes, path: Path, start: int) -> Record:
    try:
        record: Record = decode(payload)
    except msgspec.MsgspecError as error:
        raise FolderError(
            f"{path}: the record at byte {start} is none of this version ({error})"
        ) from None
    return record


def new_attempt(journal: Path, step: int, block: int) -> Path:
    """Make the folder of a new attempt; return its segment's path."""
    own = folder_of(journal, step, block) / uuid.uuid4().hex[:12]
    own.mkdir(parents=True)
    return own / "answers"


class BlockJournal:
    """All that the attempts at one step of one block wrote.

    Parameters
    ----------
    chats
        By key; those of the attempt that counts first.
    lives
        The life of the run that each was written in.
    segments
        What was read.
    accepted
        The attempt that counts, where it is known.
    """

    def __init__(self, segments: Iterable[Segment], accepted: str = "") -> None:
        self.segments = {segment.attempt: segment for segment in segments}
        self.accepted = accepted
        self.chats: dict[Key, Chat] = {}
        self.lives: dict[Key, str] = {}
        own: set[Key] = set()
        for segment, upto in self._in_order(accepted):
            life = segment.head.life if segment.head else ""
            for chat, end in segment.chats:
                key = chat.agent, chat.call
                if (upto is None or end <= upto) and self._counts(chat, key, own):
                    self.chats[key], self.lives[key] = chat, life
            if segment.attempt == accepted:
                own = set(self.chats)

    def _counts(self, chat: Chat, key: Key, own: set[Key]) -> bool:
        """Whether a chat counts more than what is known: an answer does than a failure before."""
        known = self.chats.get(key)
        better = isinstance(known, Lapse) and isinstance(chat, Entry) and key not in own
        return known is None or better

    def _in_order(self, accepted: str) -> Iterator[tuple[Segment, int | None]]:
        """Yield the segments, those that count first, with the offset up to which they do."""
        if accepted in self.segments:
            yield self.segments[accepted], None
            for attempt, upto in self.segments[accepted].taken:
                if attempt in self.segments:
                    yield self.segments[attempt], upto
            return
        for segment in self.segments.values():
            yield segment, None

    @property
    def ends(self) -> list[tuple[str, int]]:
        """Up to where each segment was read that has answers, in the order in which they count."""
        read = list(self._in_order(self.accepted))
        return [(one.attempt, upto or one.chats[-1][1]) for one, upto in read if one.chats]

    @property
    def damages(self) -> list[str]:
        """Where something cannot be read, other than an end that was torn."""
        return [
            f"{segment.path}, from byte {damage.start} on"
            for segment in self.segments.values()
            for damage in segment.damages
        ]


class Packed(msgspec.Struct, array_like=True, frozen=True):
    """One block's chats in a packed journal, with what can be said without reading them."""

    block: int
    first: int
    last: int
    count: int
    usage: Numbers
    head: Head
    chats: bytes


_packed = msgspec.msgpack.Decoder(Packed).decode
_chats = msgspec.msgpack.Decoder(list[Entry | Lapse]).decode


def pack(journal: Path, step: int, accepted: dict[int, str]) -> None:
    """Write what counts of a step into one compressed file, and remove its segments.

    Parameters
    ----------
    journal
        The folder.
    step
        Its number.
    accepted
        The attempts that count, by block; of a block that is not named, all.
    """
    folder = journal / f"{step:06d}"
    blocks = sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())
    if not blocks:
        return
    target = packed_of(journal, step)
    draft = target.with_name(f"packed.{uuid.uuid4().hex[:8]}")
    try:
        _write_packed(journal, step, blocks, accepted, draft)
        draft.replace(target)
    except OSError as error:
        if isinstance(error, FolderError):
            raise
        with suppress(OSError):
            draft.unlink()
        raise RunError(f"the journal cannot be used: {target}: {error.strerror}") from error
    for block in blocks:
        shutil.rmtree(folder / f"{block:05d}", ignore_errors=True)


def _write_packed(
    journal: Path, step: int, blocks: list[int], accepted: dict[int, str], draft: Path
) -> None:
    """Write the packed file of a step: what was packed before, and these blocks."""
    target = packed_of(journal, step)
    have = read_packed(target) if target.exists() else {}
    with draft.open("wb") as file:
        for block, old in have.items():
            if block not in blocks:
                file.write(frame(encode(old)))
        for block in blocks:
            found = read_segments(journal, step, block, accepted.get(block, ""))
            chats = [found.chats[key] for key in sorted(found.chats)]
            heads = [s.head for s in found.segments.values() if s.head is not None]
            if block in have:
                known = _chats(zlib.decompress(have[block].chats))
                every = {(c.agent, c.call): c for c in [*known, *chats]}  # what is newer counts
                chats = [every[key] for key in sorted(every)]
                heads.append(have[block].head)
            if chats:
                file.write(frame(encode(_pack(block, heads[0], chats))))
        file.flush()
        os.fsync(file.fileno())


def write_packed(path: Path, blocks: Iterable[tuple[int, Head, list[Chat]]]) -> None:
    """Write the chats of some blocks of a step into one compressed file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for block, head, chats in blocks:
            file.write(frame(encode(_pack(block, head, chats))))


def _pack(block: int, head: Head, chats: list[Chat]) -> Packed:
    agents = [chat.agent for chat in chats]
    sums = tuple(map(sum, zip(*(chat.numbers for chat in chats), strict=True)))
    packed = zlib.compress(encode(chats), 1)
    return Packed(block, min(agents), max(agents), len(chats), cast(Numbers, sums), head, packed)


def read_packed(path: Path) -> dict[int, Packed]:
    """Read a packed step, by block, without unpacking the chats.

    Raises
    ------
    FolderError
        If it is damaged, with the file and the offset.
    """
    frames, damages = read_frames(path.read_bytes())
    if damages:
        raise FolderError(
            f"{path} is damaged from byte {damages[0].start} on: answers that were paid for cannot"
            " be read; restore the file from a copy"
        )
    found = [_packed(each.payload) for each in frames]
    return {each.block: each for each in found}


def read_segments(journal: Path, step: int, block: int, accepted: str = "") -> BlockJournal:
    """Read the segments of one step of one block."""
    folder = folder_of(journal, step, block)
    paths = sorted(folder.glob("*/answers"))
    return BlockJournal(map(read_segment, paths), accepted)


def read_block(journal: Path, step: int, block: int, accepted: str = "") -> BlockJournal:
    """Read all that is known of one step of one block, packed or not."""
    found = read_segments(journal, step, block, accepted)
    path = packed_of(journal, step)
    if path.exists():  # what is not in it is newer: asked for as the program had changed
        packed = read_packed(path).get(block)
        if packed is not None:
            for chat in _chats(zlib.decompress(packed.chats)):
                key = chat.agent, chat.call
                if key not in found.chats:
                    found.chats[key], found.lives[key] = chat, packed.head.life
    return found


def steps_of(journal: Path) -> list[int]:
    """Return the steps that a journal has something of, in order."""
    if not journal.is_dir():
        return []
    return sorted(int(path.name) for path in journal.iterdir() if path.name.isdigit())
