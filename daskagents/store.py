"""The run directory: all that a run needs to be understood, read and gone on with.

::

    run.json       what is run: workflow, parameters, seed, populations, versions, how it ended;
                   with a checksum
    run.lock       who writes it
    events.jsonl   in order: each step with a digest of its input and the attempts that count,
                   each value the workflow read, each round closed; a line each, with a checksum
    rounds.zarr/   the results, which `xr.open_zarr` opens
    populations/   the columns that were given, block by block (Zarr)
    entered/       those of agents that entered later, where they are large
    environments/  every version of each environment, a file each
    checkpoints/   the last two generations of every block (Zarr)
    journal/       every answer of a model, by step, block and attempt
    failures/      why agents failed, by step and block
    interventions.jsonl  what was changed from outside, and from which round on
    surveys/       what agents answered that were asked from outside (Zarr)
    control/       commands to the run while it is under way, and their answers
    program/       copies of the files of the program
    steps/         what tasks replied in rounds not yet folded into rounds.zarr, by attempt
    rounds/        the same for what the workflow made of replies

There is no pickle in it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from daskagents import __version__, blocks, syncing
from daskagents.block import Block
from daskagents.columns import Column
from daskagents.environments import files
from daskagents.errors import FolderError
from daskagents.events import line_of
from daskagents.lock import Lock
from daskagents.past import Past, read_past
from daskagents.reads import digest_of
from daskagents.tasks import Part, writing

_VERSIONS = ("dask", "distributed", "numpy", "xarray", "zarr")
_LARGE = 1_000
#: Seconds between two times that the events are brought to the disk; and that clocks may differ.
_SYNC_EVERY, _CLOCKS = 1.0, 10.0


class Store:
    """Writes one run directory, as the only one that does.

    Parameters
    ----------
    out
        The folder; it is made, and must hold no run. None makes a temporary one.
    resume
        Whether to go on with the run that the folder holds, if it holds one.
    sync
        Whether what a run needs that goes on is brought to the disk itself.

    Attributes
    ----------
    past : Past or None
        What the run did before, of one that goes on.
    about : dict
        What ``run.json`` says.

    """

    def __init__(
        self, out: str | os.PathLike[str] | None, *, resume: bool = False, sync: bool = True
    ) -> None:
        self.temporary = out is None
        self.sync = sync and not self.temporary
        self._brought = self._noted = 0.0
        self._noting = threading.Lock()  # questions from outside are noted by other threads
        self.shared, self.begun = True, False
        self.past: Past | None = None
        self.about: dict[str, Any] = {}
        if out is None:
            self.folder, self._was_there = Path(tempfile.mkdtemp(prefix="daskagents-")), False
        else:
            self.folder = Path(out).expanduser().absolute()
            resume = resume and (self.folder / "run.json").exists()
            self._was_there = resume or _make_folder(self.folder)
        self._lock = Lock(self.folder)
        try:
            self._open(resume=out is not None and resume)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, *, resume: bool) -> None:
        """Read what the run did before, if it goes on, and open its events."""
        if resume:
            self.about = read_about(self.folder)
            check_whole(self.folder, self.about)
            self.past = read_past(self.folder)
            self.begun = True
        try:
            self._events = (self.folder / "events.jsonl").open("a", encoding="utf-8")
        except OSError as error:
            raise FolderError(f"{self.folder} cannot be written: {error.strerror}") from None
        if resume:
            self._events.write("\n")  # after a line that a killed run left unfinished

    @property
    def place(self) -> tuple[str, bool]:
        """The folder, and whether all workers see it."""
        return str(self.folder), self.shared

    @property
    def rounds(self) -> Path:
        """Where the results are."""
        return self.folder / "rounds.zarr"

    def describe(self, **about: Any) -> None:
        """Add to what ``run.json`` says, and write it at once or not at all."""
        self.about |= about
        draft = self.folder / "run.json.new"
        with writing(self.folder):
            about = json.loads(json.dumps(self.about, default=_jsonable))
            text = json.dumps(about | {"crc": _crc(about)}, indent=1)
            draft.write_text(text, encoding="utf-8")
            syncing.replace(draft, self.folder / "run.json", sync=self.sync)

    def begin(self, **about: Any) -> None:
        """Write what is run, and with which versions."""
        if self.past is not None:
            lives = [*self.about.get("lives", ()), {"began": _now(), "versions": _versions()}]
            self.about.pop("ended", None)
            self.describe(status="running", **about, lives=lives)
            at = {"round": self.past.round, "steps": self._steps_before()}
            self.note("resumed", life=len(lives), **at)
            return
        self.describe(format=1, status="running", started=_now(), **about, versions=_versions())
        self.begun = True

    def _steps_before(self) -> int:
        checkpoint = self.past and self.past.checkpoint
        return checkpoint.steps if checkpoint else 0

    def note(self, event: str, **fields: Any) -> None:
        """Append one line to the events."""
        with self._noting, writing(self.folder):
            self._events.write(line_of(event, fields, _jsonable))
            self._events.flush()
            if event == "round" and time.monotonic() - self._noted > _SYNC_EVERY:
                self._bring_events()

    def _bring_events(self) -> None:
        """Bring the events to the disk."""
        self._noted = time.monotonic()
        if self.sync:
            os.fsync(self._events.fileno())

    def bring_results(self) -> None:
        """Bring the results to the disk, and the events, before a checkpoint counts on them."""
        if self.sync:
            began = time.time()
            with writing(self.folder):
                self._bring_events()
                syncing.sync_tree(self.rounds, self._brought)
                syncing.sync_tree(self.folder / "environments", self._brought)
            self._brought = began - _CLOCKS

    def write_given(
        self,
        name: str,
        index: int,
        first: int,
        end: int,
        columns: Mapping[str, Column],
        folder: str = "populations",
    ) -> str:
        """Write the given columns of one block; return the path."""
        path = self.given(name, index, folder)
        if self.past is not None and path.exists():
            return str(path)
        with writing(self.folder):
            blocks.write(Block(first, end - first, columns), path)
            if self.sync:
                syncing.sync_tree(path)
        return str(path)

    def given(self, name: str, index: int, folder: str = "populations") -> Path:
        """Return where the given columns of a block are."""
        return self.folder / folder / file_name(name) / f"{index:05d}"

    def describe_world(self, name: str, about: dict[str, Any]) -> None:
        """Say what an environment is."""
        self.describe(environments=self.about.get("environments", {}) | {name: about})

    def environment(self, name: str) -> Path:
        """Return where the versions of an environment are."""
        return self.folder / "environments" / file_name(name)

    def write_environment(self, name: str, file: str, data: bytes) -> str:
        """Write a version of an environment, or a part of one; return the path."""
        path = self.environment(name) / file
        with writing(self.folder):
            files.write(data, path)
        return str(path)

    def generation(self, round_: int) -> Path:
        """Return the folder of a checkpoint."""
        return self.folder / "checkpoints" / f"{round_:06d}"

    def checkpoint(self, round_: int, name: str, index: int | None = None) -> str:
        """Return where a block, or an environment, is to be written after a round."""
        folder = self.generation(round_) / file_name(name)
        return str(folder if index is None else folder / f"{index:05d}")

    def carried(self, generation: int, step: int) -> str:
        """Return where messages are written that no task of the time since a checkpoint made."""
        return f"checkpoints/{generation:06d}/messages/{step:06d}"

    def prune(self, keep: int = 2) -> None:
        """Remove all but the last generations of checkpoints."""
        generations = sorted((self.folder / "checkpoints").glob("*"))
        for old in generations[:-keep]:
            shutil.rmtree(old, ignore_errors=True)

    def keep_pieces(self, step: int, blocks: list[int], parts: list[Part]) -> None:
        """Write pieces that travelled here, and note the attempts that count."""
        names = []
        for at, (index, part) in enumerate(zip(blocks, parts, strict=True)):
            if isinstance(part.piece, bytes):
                path = self.write_piece(f"steps/{step:06d}/{index:05d}", part.piece)
                parts[at] = part = replace(part, piece=path)
            names.append(Path(str(part.piece)).name)
        attempts = [part.attempt for part in parts]
        told = {"blocks": blocks, "attempts": attempts} if any(attempts) else {}
        self.note("done", step=step, pieces=names, **told)

    def write_piece(self, name: str, piece: bytes) -> str:
        """Write a piece that a worker could not write."""
        path = self.folder / f"{name}-client"
        with writing(self.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(piece)
        return str(path)

    def forget_after(self, round_: int) -> None:
        """Remove what tasks wrote of rounds that are computed again."""
        self.remove_pieces()
        for generation in (self.folder / "checkpoints").glob("*"):
            if int(generation.name) > round_:
                shutil.rmtree(generation, ignore_errors=True)

    def remove_pieces(self) -> None:
        """Remove what tasks replied, once all of it is in the results."""
        for name in ("steps", "rounds"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def end(self, status: str, **about: Any) -> None:
        """Say how the run ended."""
        try:
            self.describe(status=status, ended=_now(), **about)
        finally:
            self.close()

    def close(self) -> None:
        """Let another run have the folder."""
        with suppress(OSError):  # what a full disk did not take
            self._events.close()
        self._lock.release()

    def remove(self) -> None:
        """Remove what there is of the run, and its folder if it was made for it."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._was_there:
            self.folder.mkdir(exist_ok=True)


def file_name(name: str) -> str:
    """Return a name as part of a path: as it is if it is short and plain.

    Examples
    --------
    >>> file_name("players"), file_name("../x")
    ('players', '___x-d42ff05c')

    """
    if re.fullmatch(r"[\w -]{1,64}", name, re.ASCII):
        return name
    digest = blake2b(name.encode(), digest_size=4).hexdigest()
    return f"{re.sub(r'[^a-zA-Z0-9]', '_', name)[:40]}-{digest}"


def _make_folder(folder: Path) -> bool:
    """Make a folder for a run, or say why it cannot be one; return whether it was there."""
    if (folder / "run.json").exists() or (folder / "events.jsonl").exists():
        raise FolderError(
            f"{folder} holds another run; choose another `out`, or remove it, or go on with it:"
            " resume=True"
        )
    if folder.exists() and not folder.is_dir():
        raise FolderError(f"{folder} is a file; `out` is the folder of a run")
    if folder.exists() and any(folder.iterdir()):
        raise FolderError(f"{folder} is not empty and holds no run; choose an empty or new folder")
    there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"{folder} cannot be made: {error.strerror}") from None
    return there


def read_about(folder: Path) -> dict[str, Any]:
    """Read ``run.json``."""
    try:
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FolderError(f"{folder} holds no run (there is no run.json in it)") from None
    except ValueError as error:  # no JSON, or no text at all
        raise FolderError(f"{folder / 'run.json'} cannot be read: {error}") from None
    if not isinstance(about, dict):
        raise FolderError(f"{folder / 'run.json'} does not describe a run")
    crc = about.pop("crc", None)  # there is none in runs from before it was written
    if crc is not None and crc != _crc(about):
        raise FolderError(f"{folder / 'run.json'} is damaged; restore it from a copy")
    return about


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Write ``run.json`` of a copy."""
    text = json.dumps(about | {"crc": _crc(about)}, indent=1)
    (folder / "run.json").write_text(text, encoding="utf-8")


def check_whole(folder: Path, about: Mapping[str, Any]) -> None:
    """Raise a `FolderError` if a run directory is a copy without its texts."""
    if "redacted" in about:
        raise FolderError(
            f"{folder} is a redacted copy: texts were removed from it that a run needs to go on or"
            " to be replayed; use the original"
        )


def _crc(about: dict[str, Any]) -> str:
    """Return the checksum of what ``run.json`` says, however it is laid out."""
    return f"{crc32(json.dumps(about, sort_keys=True).encode()):08x}"


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.size <= _LARGE:
            return value.tolist()
        return {"shape": value.shape, "dtype": str(value.dtype), "digest": digest_of(value)}
    return repr(value)


def _versions() -> dict[str, str]:
    """Return the versions of what runs, which need not be what is installed."""
    return {
        "daskagents": __version__,
        **{name: _version(name) for name in _VERSIONS},
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except ImportError:
        return "unknown"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
