"""What a worker is asked to do: the tasks that `plan` arranges and Dask runs."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import astuple, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import cloudpickle
import numpy as np
from distributed import get_worker, secede
from distributed.comm import CommClosedError
from numpy.typing import NDArray

from daskagents import apart, blocks, holding
from daskagents.block import (
    Block,
    Call,
    Charter,
    Failure,
    Heard,
    Outcome,
    Said,
    Scene,
    first_block,
    pick_rows,
)
from daskagents.columns import Column, dump, from_arrays, load
from daskagents.delivery import deliver
from daskagents.environments.ledger import World
from daskagents.environments.tasks import Seen
from daskagents.environments.tasks import world as look
from daskagents.errors import AgentError, DaskAgentsError, RunError
from daskagents.failures import write_failures
from daskagents.forms import Form, Kind, as_numpy, blank
from daskagents.journal import attempt as journals
from daskagents.journal.attempt import Attempt, Journaling
from daskagents.keeping import WorkerKeeper
from daskagents.loop import Loop, shared_loop
from daskagents.monitor.sketch import sketch_outcome
from daskagents.sealing import charter_of, unseal_once
from daskagents.step import run_step
from daskagents.usage import Tally, read_tally

#: Why a step is not begun, or not ended.
STOPPED = "the run that this step belongs to has stopped"
#: A packed mask of a block's rows, a slice of them, or None for all.
Mask = NDArray[np.uint8] | slice | None
#: The loop of the thread that runs tasks itself, where no worker does.
own_loop: ContextVar[Loop | None] = ContextVar("own_loop", default=None)
#: Hears what tasks tell, where no worker does.
own_ear: ContextVar[Callable[[str, Any], None] | None] = ContextVar("own_ear", default=None)


@dataclass(frozen=True)
class Place:
    """Where a step's task stands: which block of which run, and where it writes.

    `folder` is None outside a run. Where workers cannot see it (`shared` is False), what would be
    written travels with the result. `journal` says how the answers of models are written down;
    None where they are not. `most` agents may fail in the step.
    """

    topic: str
    step: int
    index: int
    folder: str | None = None
    shared: bool = True
    journal: Journaling | None = None
    most: int = 0


@dataclass(frozen=True)
class Bundle:
    """The one result of a step's task: the outcome, and where replies and answers were written."""

    outcome: Outcome
    piece: str | bytes | None
    attempt: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of the rows, the replies and the piece that travels."""
        return self.outcome.nbytes + (len(self.piece) if self.piece else 0)


@dataclass(frozen=True)
class Part:
    """The small part of a bundle that the client looks at.

    `lost` says how many messages were to agents that do not exist, and one such id and its sender.
    """

    rows: int
    failed: int
    failures: Mapping[str, int]
    first_failure: Failure | None
    form: Form | None
    usage: Tally
    piece: str | bytes | None
    attempt: str = ""
    lost: tuple[int, int, int] = (0, 0, 0)

    def plain(self) -> list[Any]:
        """Return it as msgpack knows it."""
        first = self.first_failure
        form = None if self.form is None else [list(kind) for kind in self.form.kinds]
        said: list[Any] | None = None
        if first is not None:
            said = [first.agent, *map(_utf8, (first.reason, first.where, "", first.group))]
        tally = self.usage.plain()
        failures = dict(self.failures)
        own = [self.piece, self.attempt, list(self.lost)]
        return [self.rows, self.failed, failures, said, form, tally, *own]


def read_part(plain: Sequence[Any]) -> Part:
    """Return the part that was told as `Part.plain`."""
    rows, failed, failures, said, form, tally, piece, attempt, lost = plain
    return Part(
        rows,
        failed,
        failures,
        None if said is None else Failure(*said),
        None if form is None else Form(tuple((name, kind) for name, kind in form)),
        read_tally(tally),
        piece,
        attempt,
        tuple(lost),
    )


def _utf8(text: str) -> str:
    """Return a text without what UTF-8 cannot say."""
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class Sealed:
    """A message whose content is of a class of the user's program, as bytes for the wire."""

    blob: bytes


_stopped: set[str] = set()
_thread = threading.local()
#: When this process may run its first agents.
_ripe = 0.0


def ripen(seconds: float) -> None:
    """Run no agents in this process for some seconds."""
    global _ripe
    _ripe = time.monotonic() + seconds


def begin(
    blob: bytes | Charter, first: int, n: int, given: str | Mapping[str, Column] | None
) -> Block:
    """Make the first version of a block, from given columns or from where they were written."""
    if isinstance(given, str):
        given = blocks.read(Path(given)).columns
    return first_block(charter_of(blob).cls, first, n, given or {})


def same(value: Any) -> Any:
    """Return a result under another key."""
    return value


def state_of(held: Block | Bundle) -> Block:
    """Return the rows of a block or of what a step made of it."""
    return held if isinstance(held, Block) else held.outcome.block


def do_step(
    blob: bytes | Charter,
    held: Block | Bundle,
    call: Call,
    heard: Heard | Sealed,
    mask: Mask,
    place: Place,
    coming: int = 0,
    seen: Seen | None = None,
    *sent: Any,
) -> Bundle:
    """Run one step of one block, and write down what was replied.

    What has come for its inboxes is `sent`; and where it sees an environment, that, its version
    and what else it reads of it.
    """
    holding.wait(place.topic, place.step, leave, lambda: _check_stopped(place.topic))
    _check_stopped(place.topic)
    if _ripe > time.monotonic():  # a sleep of nothing lets others have the processor
        time.sleep(max(0.0, _ripe - time.monotonic()))
    began = time.perf_counter()
    block = deliver(blob, state_of(held), sent[:coming])
    message: Heard = cloudpickle.loads(heard.blob) if isinstance(heard, Sealed) else heard
    charter = charter_of(blob)
    rows = pick_rows(mask, block.n)
    world = None if seen is None else look(sent[coming], seen, sent[coming + 1 :])
    telling: dict[str, Any] = {
        "on_progress": lambda done, failed, usage: tell(
            place.topic, {"at": [place.step, place.index], "done": [done, failed, *astuple(usage)]}
        ),
        "on_form": lambda form: tell(
            place.topic, {"at": [place.step, place.index], "form": [list(k) for k in form.kinds]}
        ),
        "keeper": None if own_loop.get() else WorkerKeeper(place.topic, get_worker()),
    }
    if call.scene is not None:
        call = replace(call, scene=_opened(call.scene, place.index))
    by_itself = call.scene is None and apart.is_marked(place.topic, charter.name, place.index)
    if by_itself:
        outcome, attempt = _run_apart(blob, block, call, message, rows, world, place, telling)
    else:
        with attempting(charter, call, place) as journal:
            lanes = lambda: cast(Loop, _Lanes(loop_of_agents(), place.topic))  # noqa: E731
            outcome = run_step(
                charter,
                block,
                call,
                message,
                rows,
                loop=lanes,
                journal=journal,
                world=world,
                **telling,
            )
        attempt = "" if journal is None else journal.name
    if place.folder is None:
        return Bundle(outcome, None)
    news: dict[str, Any] = {"at": [place.step, place.index]}
    if own_ear.get() is None:  # there is a page to see it
        seconds = time.perf_counter() - began
        news["sketch"] = {**sketch_outcome(outcome), "seconds": seconds, "apart": by_itself}
    piece = _write_piece(outcome, place)
    if outcome.lapses:
        if isinstance(piece, str):
            with writing(piece):
                write_failures(
                    Path(str(place.folder)), place.step, Path(piece).name, outcome.lapses
                )
        outcome = replace(outcome, lapses=())  # they need not stay in memory
    bundle = Bundle(outcome, piece, attempt)
    if place.shared:  # else its replies travel with it, and the client asks for them
        news["part"] = part_of(bundle).plain()
    tell(place.topic, news)
    return bundle


def _opened(scene: Scene, index: int) -> Scene:
    """Return a scene as it is played in one block."""
    play = unseal_once(scene.play) if isinstance(scene.play, bytes) else scene.play
    return replace(scene, play=play, bounds=scene.bounds[index : index + 2])


def _run_apart(
    blob: bytes | Charter,
    block: Block,
    call: Call,
    heard: Heard,
    rows: NDArray[np.int64] | None,
    world: World | None,
    place: Place,
    telling: Mapping[str, Any],
) -> tuple[Outcome, str]:
    """Run a step in child processes; return its outcome, and the attempt that counts."""
    work = apart.Apart(
        blob,
        block,
        call,
        heard,
        rows,
        world=world,
        most=place.most,
        attempt=lambda: attempting(charter_of(blob), call, place),
        check=lambda: _check_stopped(place.topic),
        waits=leave,
        memory=get_worker().memory_manager.memory_limit,
        **telling,
    )
    return work.run(), work.name


def _check_stopped(topic: str) -> None:
    """Raise a `RunError` if a run has stopped, one that workers do not write of."""
    if topic in _stopped:
        raise RunError(STOPPED)


@contextmanager
def attempting(charter: Charter, call: Call, place: Place) -> Iterator[Attempt | None]:
    """Yield what keeps the answers of a step; closed in the end, whatever happens."""
    if place.journal is None:
        yield None
        return
    attempt = Attempt(place.journal, place.step, place.index, charter.name, call.method)
    try:
        yield attempt
    finally:
        attempt.close()


def loop_of_agents() -> Loop:
    """Return the loop for waiting agents, and leave the worker's thread to other tasks."""
    own = own_loop.get()
    if own is not None:
        return own
    leave()
    return shared_loop()


def leave() -> None:
    """Leave the worker's thread to other tasks; a second time, nothing happens."""
    if not getattr(_thread, "left", False):
        _thread.left = True  # the thread ends with its task
        secede()


class _Lanes:
    """A loop that starts no more agents once their run has stopped."""

    def __init__(self, loop: Loop, topic: str) -> None:
        self.loop, self.topic = loop, topic

    def run_each(self, one: Callable[[int], Awaitable[None]], rows: Iterator[int]) -> None:
        """Run ``one(row)`` for every row, as `Loop.run_each` does."""
        self.loop.run_each(one, (row for row in rows if self.topic not in _stopped))
        _check_stopped(self.topic)


def stop(topic: str) -> None:
    """Start no more agents of a run that has stopped."""
    _stopped.add(topic)


def tell(topic: str, message: Any) -> None:
    """Tell the client something while a task still runs; made of what msgpack knows."""
    ear = own_ear.get()
    if ear is not None:
        ear(topic, message)
    else:
        get_worker().log_event(topic, message)


def _write_piece(outcome: Outcome, place: Place) -> str | bytes:
    """Write the replies of one block under a name that no other attempt has."""
    arrays = {
        f"{name}/{part}": array
        for name, column in outcome.replies.items()
        for part, array in column.arrays().items()
    }
    arrays["failed"] = outcome.failed
    return write_arrays(arrays, place, f"steps/{place.step:06d}/{place.index:05d}")


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Say where it was if the disk fails: a `RunError` that names the path."""
    try:
        yield
    except OSError as error:
        if isinstance(error, DaskAgentsError | CommClosedError | ConnectionError | TimeoutError):
            raise
        # NumPy says of a full disk only how much it could write
        why = error.strerror or f"{error} (is the disk full?)"
        raise RunError(f"the run directory cannot be used: {path}: {why}") from error


def write_arrays(arrays: Mapping[str, NDArray[Any]], place: Place, name: str) -> str | bytes:
    """Write arrays as this attempt's; return the path, or the bytes where no folder is shared."""
    if not place.shared:
        buffer = BytesIO()
        dump(arrays, buffer)
        return buffer.getvalue()
    path = Path(str(place.folder), f"{name}-{uuid.uuid4().hex[:8]}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            dump(arrays, file)
    return str(path)


def write_values(values: NDArray[Any], place: Place, name: str) -> str | bytes:
    """Write one block of a variable that the workflow made from replies."""
    arrays: Mapping[str, NDArray[Any]]
    if values.dtype.kind in "TUO":
        column = blocks.text_column(values)
        arrays = {f"/{part}": array for part, array in column.arrays().items()}
    else:
        arrays = {"/values": np.asarray(values)}
    return write_arrays(arrays, place, name)


def read_values(piece: str | bytes) -> NDArray[Any]:
    """Read back what `write_values` wrote."""
    with BytesIO(piece) if isinstance(piece, bytes) else Path(piece).open("rb") as file:
        arrays = load(file)
    return as_numpy(from_arrays({key[1:]: array for key, array in arrays.items()}))


def part_of(bundle: Bundle) -> Part:
    """Return the small part of a bundle."""
    outcome = bundle.outcome
    return Part(
        len(outcome.failed),
        int(outcome.failed.sum()),
        outcome.failures,
        outcome.first_failure,
        outcome.form,
        outcome.usage,
        bundle.piece,
        bundle.attempt,
        (outcome.posted.lost, *outcome.posted.example),
    )


def said(bundle: Bundle, name: str) -> Said:
    """Return what the one agent of a bundle said."""
    failure = bundle.outcome.first_failure
    if failure is not None:
        return Said(None, name, f"{name} failed: {failure}")
    return Said(bundle.outcome.contents, name)


def pick_reply(
    bundle: Bundle | NDArray[Any], name: str = "", kind: Kind = "number", limit: float | None = None
) -> NDArray[Any]:
    """Return the replies of one name, for xarray.

    `limit` is the fraction of agents that may fail where no run watches over them.
    """
    if not isinstance(bundle, Bundle):  # nobody was asked
        return blank(kind, 0)
    outcome = bundle.outcome
    failed = int(outcome.failed.sum())
    if limit is not None and failed > limit * len(outcome.failed) and outcome.first_failure:
        raise AgentError("; ".join(outcome.first_failure.among(failed, len(outcome.failed))))
    if name not in outcome.replies:  # nobody in this block replied
        return blank(kind, len(outcome.failed))
    return as_numpy(outcome.replies[name])


def pick_state(
    held: Block | Bundle | NDArray[Any], blob: bytes | Charter, name: str
) -> NDArray[Any]:
    """Return one field of a block's rows, for xarray."""
    field = charter_of(blob).cls.__fields__[name]
    if isinstance(held, np.ndarray):  # there is nobody
        return field.numpy(field.column([]))
    return field.numpy(state_of(held).columns[name])


_kept: dict[str, Block] = {}


def write_state(
    held: Block | Bundle, path: str | None, blob: bytes | Charter = b"", *coming: Any
) -> tuple[Block | None, str]:
    """Write a block as a root to go on from; return it too where no folder is shared.

    What has come for its inboxes is put into them.

    The block stays in a table of this process, so that `load_state` need not read it.
    """
    block = deliver(blob, state_of(held), coming)
    if path is None:
        return block, ""
    with writing(path):
        blocks.write(block, Path(path))
    _forget_older(path)
    _kept[path] = block
    return None, _address()


def _forget_older(path: str) -> None:
    """Drop blocks of older checkpoints, which were loaded elsewhere."""
    generation = Path(path).parents[1]
    for old in list(_kept):
        other = Path(old).parents[1]
        if other.parent == generation.parent and other != generation:
            _kept.pop(old, None)


def load_state(path: str, block: Block | None = None) -> Block:
    """Return the block that was written at `path`."""
    kept = _kept.pop(path, block)
    return blocks.read(Path(path)) if kept is None else kept


def forget(folder: str) -> None:
    """Drop what this process still keeps of the run in `folder`."""
    apart.end_idle()
    journals.forget(folder)
    for path in list(_kept):
        if path.startswith(f"{folder}{os.sep}"):
            _kept.pop(path, None)


def _address() -> str:
    try:
        return str(get_worker().address)
    except ValueError:
        return ""


def sees(path: str) -> bool:
    """Whether this process sees a file, after looking at its folder anew."""
    for _ in range(20):  # a network file system may show a new file a little late
        with suppress(FileNotFoundError):
            if any(file.name == Path(path).name for file in Path(path).parent.iterdir()):
                return True
        time.sleep(0.05)
    return False


@contextmanager
def here(loop: Loop, ear: Callable[[str, Any], None]) -> Iterator[None]:
    """Run tasks in this thread, with a loop and an ear of its own."""
    tokens = own_loop.set(loop), own_ear.set(ear)
    try:
        yield
    finally:
        own_loop.reset(tokens[0])
        own_ear.reset(tokens[1])
