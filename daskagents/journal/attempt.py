"""An attempt at one step of one block: it finds the answers that are written, and writes others."""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from daskagents.errors import AnswerError, DaskAgentsError, GaveUpError, ModelError, RunError
from daskagents.journal.entries import (
    About,
    Asked,
    Chat,
    Entry,
    Head,
    Taken,
    encode,
    entry_of,
    lapse_of,
    wanted_of,
)
from daskagents.journal.frames import frame
from daskagents.journal.segments import (
    FORMAT,
    BlockJournal,
    Key,
    journal_of,
    new_attempt,
    read_block,
)
from daskagents.journal.texts import Texts, write_all
from daskagents.loop import resource
from daskagents.models.base import Answer, Model, Request
from daskagents.usage import Usage

#: When what was written is brought to the disk itself, and not only to the operating system.
Sync = Literal["batch", "each", "never"]
#: Seconds within which it is, in batches.
_BATCH = 0.05


@dataclass(frozen=True)
class Journaling:
    """How the steps of a run keep their journal.

    Parameters
    ----------
    folder
        The run directory; empty where nothing is written.
    life
        Which life of the run this is: a new one begins with each resume.
    settled
        Whether the step was done in an earlier life, so that all its answers are there.
    source
        The run directory whose answers are replayed; empty where the run's own go on.
    on_miss
        What to do where an answer should be there and is not.
    sync
        When the disk itself is to have what was written.
    accepted
        The attempts that counted at this step when it was done before, by block.
    """

    folder: str
    life: str
    settled: bool = False
    source: str = ""
    on_miss: Literal["error", "call"] = "error"
    sync: Sync = "batch"
    accepted: Mapping[int, str] = field(default_factory=dict)


class Attempt:
    """One attempt at one step of one block.

    Parameters
    ----------
    how
        How the run keeps its journal.
    step, block
        Which.
    population, method
        What it is, for those who read it.
    """

    def __init__(
        self, how: Journaling, step: int, block: int, population: str = "", method: str = "reply"
    ) -> None:
        self._how, self._step, self._block = how, step, block
        self._head = Head(FORMAT, how.life, step, block, population, method)
        self._calls: dict[int, int] = {}
        self._found: dict[Key, Chat] = {}
        self._asked: dict[tuple[int, bytes], list[Key]] | None = None
        self._taken: list[tuple[str, int]] = []
        self._damages: list[str] = []
        self._path: Path | None = None
        self._fd = -1
        self._texts = _texts_of(how.folder) if how.folder else None
        self._soon: Callable[..., None] | None = None
        self._opened = False
        #: The attempt's name once it is closed; empty if it wrote nothing.
        self.name = ""

    async def chat(self, model: Model, request: Request, agent: int) -> tuple[Answer, bool]:
        """Return the answer that was written, or ask the model and write down what it says.

        Returns
        -------
        Answer
            As the model gave it.
        bool
            Whether it was asked in this run, now or before; not so in a replay.

        Raises
        ------
        RunError
            If an answer has to be there and is not, or the journal cannot be written.
        Exception
            As the model raised it, now or before.
        """
        if not self._opened:
            self._open()
        call = self._calls.get(agent, 0)
        self._calls[agent] = call + 1
        at, asked = _At(agent, call), _read(request)
        if self._found:
            known = self._find(at, asked.digest)
            if known is not None:
                return self._again(known, request), not self._how.source
        if self._how.source or self._how.settled:
            self._check_miss(at)
        return await self._anew(model, request, asked, at), True

    def _find(self, at: _At, digest: bytes) -> Chat | None:
        """Return what is written of a chat; each is returned once.

        An agent that has several chats under way at a time need not come to them in the order of
        then: so it is looked for among its others too, and has the new number from now on.
        """
        known = self._found.get(at)
        if known is not None and known.asked.digest == digest:
            return self._found.pop(at)
        if self._asked is None:
            self._asked = defaultdict(list)
            for key in sorted(self._found):
                self._asked[key[0], self._found[key].asked.digest].append(key)
        keys = self._asked.get((at.agent, digest), ())
        other = next((key for key in keys if key in self._found), None)
        if other is None:
            return None
        known = msgspec.structs.replace(self._found.pop(other), call=at.call)
        if self._path is not None and not self._how.source:
            self._append(known)
        return known

    def _again(self, known: Chat, request: Request) -> Answer:
        """Return what was answered, and leave the agent's random numbers where they were then."""
        if request.rng is not None:
            request.rng.go_on_from(known.drawn)
        if isinstance(known, Entry):
            return known.answer(request)
        error = known.error()
        if self._how.source and isinstance(error, ModelError):
            error.usage = Usage()
        raise error

    async def _anew(self, model: Model, request: Request, asked: _Read, at: _At) -> Answer:
        """Ask the model, and write down what it says before it is used."""
        began, start = time.time(), time.monotonic()
        answer: Answer | Exception
        try:
            answer = await model.chat(request)
        except RunError:
            raise
        except asyncio.CancelledError:  # by its agent, mostly, which would wait no longer
            given_up = GaveUpError("the agent did not wait for the answer")
            with suppress(RunError):
                self._keep(given_up, asked, _about(at, request, began, start))
            raise
        except Exception as error:  # a model of the user's own may raise what it likes
            answer = error
        answer = self._keep(answer, asked, _about(at, request, began, start))
        if self._path is not None and self._how.sync == "each":
            await asyncio.get_running_loop().run_in_executor(None, os.fsync, self._fd)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _keep(self, answer: Answer | Exception, asked: _Read, about: About) -> Answer | Exception:
        """Write one chat down; return what its agent gets: an error if that is not possible."""
        if self._path is None:
            return answer
        try:
            self._write(answer, asked, about)
        except (OverflowError, TypeError, UnicodeError, msgspec.MsgspecError) as error:
            answer = _unwritten(error, answer)
            self._write(answer, asked, about)
        return answer

    def _write(self, answer: Answer | Exception, asked: _Read, about: About) -> None:
        """Write one chat down."""
        assert self._texts is not None
        refer = self._texts.refer
        try:
            turns = [(role, name, refer(text)) for role, name, text in asked.turns]
            short = Asked(asked.digest, turns, refer(asked.wanted) if asked.wanted else "")
        except OSError as error:
            raise _unusable(self._texts.path, error) from error
        record: Chat
        if isinstance(answer, Exception):
            record = lapse_of(answer, short, about)
        else:
            record = entry_of(answer, short, about)
        self._append(record)

    def _append(self, record: Chat) -> None:
        """Append a record to the segment, which is made for the first."""
        assert self._path is not None and self._texts is not None
        data = frame(encode(record))
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
                first = frame(encode(self._head))
                data = first + (frame(encode(Taken(self._taken))) if self._taken else b"") + data
            write_all(self._fd, data)
        except OSError as error:
            raise _unusable(self._path, error) from error
        if self._soon is not None:
            self._soon(self._fd, self._texts.fd)

    def close(self) -> None:
        """Close the segment, with all of it on the disk."""
        if self._path is None:
            return
        if self._fd < 0:
            self._remove(self._path.parent)
            return
        assert self._texts is not None
        try:
            if self._how.sync != "never":
                _sync(self._fd, self._texts.fd)
            os.close(self._fd)
        except OSError as error:
            raise _unusable(self._path, error) from error
        self._fd, self.name = -1, self._path.parent.name

    def _remove(self, folder: Path) -> None:
        """Remove the folder of an attempt that wrote nothing, and those that are empty then."""
        with suppress(OSError):
            for path in (folder, folder.parent, folder.parent.parent):
                path.rmdir()

    def _open(self) -> None:
        """Look for what other attempts wrote."""
        self._opened = True
        how, step, block = self._how, self._step, self._block
        accepted = how.accepted.get(block, "")
        if how.source:
            self._take(read_block(journal_of(how.source), step, block, accepted))
        if not how.folder:
            return
        journal = journal_of(how.folder)
        if how.sync == "batch":
            self._soon = resource("sync of journals", _Syncer).soon
        try:
            self._path = new_attempt(journal, step, block)
            # read once: what others write after that is none of this attempt's
            found = read_block(journal, step, block, "" if how.source else accepted)
            self._taken = found.ends
            self._take(found)
        except OSError as error:
            if isinstance(error, DaskAgentsError):
                raise
            raise _unusable(journal, error) from error

    def _take(self, found: BlockJournal) -> None:
        """Take over what may be used: failures only of this life, or of steps that are done.

        A chat that was given up counts in a step that is done alone: else it may have been the
        worker that was.
        """
        self._damages += found.damages
        every = self._how.source or self._how.settled
        self._found |= {
            key: chat
            for key, chat in found.chats.items()
            if every
            or isinstance(chat, Entry)
            or (found.lives[key] == self._how.life and chat.kind != GaveUpError.__name__)
        }

    def _check_miss(self, at: _At) -> None:
        """Raise a `RunError` where an answer has to be there."""
        how = self._how
        if how.on_miss == "call" or not (how.source or how.settled):
            return
        folder = how.source or how.folder
        why = f"the journal of {folder} has no answer to it"
        if at in self._found:
            why = (
                f"it asks something else than it did in {folder}: something in it does not repeat"
                " (a clock, random), or the program has changed"
            )
        elif self._damages:
            why += f", and is damaged: {'; '.join(self._damages)}"
        cure = "on_miss='call'" if how.source else "accept_changes=True"
        raise RunError(
            f"step {self._step}, block {self._block}, agent {at.agent}, chat {at.call}: {why};"
            f" {cure} asks the model instead"
        )


def _about(at: _At, request: Request, began: float, start: float) -> About:
    """Return of which chat an entry is, as it ends."""
    drawn = 0 if request.rng is None else request.rng.drawn
    return About(at.agent, at.call, drawn, began, time.monotonic() - start)


def _unwritten(error: Exception, answer: Answer | Exception) -> AnswerError:
    """Return why an answer cannot be used that cannot be written down, with what it took."""
    failed = AnswerError(f"the answer cannot be written into the journal: {error}")
    failed.usage = answer.usage if isinstance(answer, Answer) else Usage()
    return failed


class _At(NamedTuple):
    """Which chat of which agent."""

    agent: int
    call: int


class _Read(NamedTuple):
    """What a request says."""

    digest: bytes
    turns: list[tuple[str, str, str]]
    wanted: str


def _read(request: Request) -> _Read:
    turns = [(turn.role, turn.name, turn.text) for turn in request.messages]
    wanted = wanted_of(request)
    return _Read(blake2b(encode((turns, wanted)), digest_size=16).digest(), turns, wanted)


_texts: dict[str, Texts] = {}


def _texts_of(folder: str) -> Texts:
    """Return what writes the texts of a run in this process."""
    if folder not in _texts:
        _texts[folder] = Texts(journal_of(folder))
    return _texts[folder]


def forget(folder: str) -> None:
    """Let go of what this process holds open of a run's journal."""
    texts = _texts.pop(folder, None)
    if texts is not None:
        texts.close()


class _Syncer:
    """Brings what was written to the disk, some of it at a time."""

    def __init__(self) -> None:
        self._dirty: set[int] = set()

    def soon(self, *files: int) -> None:
        """Have files on the disk within 50 ms."""
        if not self._dirty:
            asyncio.get_running_loop().call_later(_BATCH, self._sync)
        self._dirty.update(files)

    def _sync(self) -> None:
        files, self._dirty = self._dirty, set()
        asyncio.get_running_loop().run_in_executor(None, _sync, *files)

    async def aclose(self) -> None:
        """Leave the rest to those who close the files."""


def _sync(*files: int) -> None:
    for file in files:
        if file >= 0:
            with suppress(OSError):  # closed in the meantime, and brought to the disk then
                os.fsync(file)


def _unusable(path: Path, error: OSError) -> RunError:
    """Say where it was that the disk failed."""
    return RunError(f"the journal cannot be used: {path}: {error.strerror}")
