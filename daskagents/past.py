"""What a run did before it goes on: read from its directory."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from daskagents import blocks
from daskagents.errors import FolderError, NotStoredError, RunError
from daskagents.events import read_events
from daskagents.forms import Form
from daskagents.syncing import replace, sync_tree

_log = logging.getLogger("daskagents")

#: Stands for a result of a step that is not run again.
LOST = "a result of a step that is not run again"


def check_stored(layers: Iterable[str]) -> None:
    """Raise a `NotStoredError` if an array with these layers is made from what is lost."""
    if any(layer.startswith("lost-") for layer in layers):
        raise NotStoredError


@dataclass(frozen=True)
class Checkpoint:
    """A point to go on from: all blocks after some rounds, and what the driver knew then.

    Parameters
    ----------
    folder
        Where it is.
    round, steps, reads
        How many of each there had been.
    state
        What the driver needs besides.
    """

    folder: Path
    round: int
    steps: int
    reads: int
    state: dict[str, Any]


def write_checkpoint(folder: Path, about: dict[str, Any], *, sync: bool = False) -> None:
    """Write what makes blocks that are written a checkpoint: at once, or not at all."""
    text = json.dumps(about)
    draft = folder / "state.json.new"
    draft.write_text(f'{{"crc": {crc32(text.encode())}, "state": {text}}}', encoding="utf-8")
    if sync:  # the blocks before what says that they are whole
        sync_tree(folder)
    replace(draft, folder / "state.json", sync=sync)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Read one; None where it is none, or not whole."""
    try:
        text = (folder / "state.json").read_text(encoding="utf-8")
        found = json.loads(text)
        inside = text[text.index('"state": ') + 9 : -1]
        if crc32(inside.encode()) != found["crc"]:
            return None
    except (OSError, ValueError, KeyError):
        return None
    state = found["state"]
    return Checkpoint(folder, state["round"], state["steps"], state["reads"], state)


@dataclass
class Past:
    """What a run did before.

    Parameters
    ----------
    folder
        The run directory.
    checkpoint
        Where it goes on; None: from its beginning, with the answers in its journal.
    earlier
        The one before, if there is one.
    steps, reads
        What was noted of each, by number.
    stored
        In which variable of which round a step's replies of some name are, by step and name.
    forms
        Of replies, by class and method.
    done
        The steps that were done.
    apart
        The blocks that are run apart, by population and number.
    lives
        Who entered or left, by number.
    may_differ
        Whether what comes may differ from it, as the program has changed.
    """

    folder: Path
    checkpoint: Checkpoint | None = None
    earlier: Checkpoint | None = None
    steps: dict[int, dict[str, Any]] = field(default_factory=dict)
    reads: dict[int, dict[str, Any]] = field(default_factory=dict)
    stored: dict[tuple[int, str], tuple[str, int]] = field(default_factory=dict)
    forms: dict[tuple[str, str], Form] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    apart: set[tuple[str, int]] = field(default_factory=set)
    lives: dict[int, dict[str, Any]] = field(default_factory=dict)
    may_differ: bool = False

    @property
    def round(self) -> int:
        """How many rounds need not be computed."""
        return 0 if self.checkpoint is None else self.checkpoint.round

    def fall_back(self, loaded: Iterable[str]) -> bool:
        """Go on from the checkpoint before, if blocks of this one are damaged and that is whole."""
        damage, earlier = _damage(map(Path, loaded)), self.earlier
        # the number of a block has five digits, that of a step six
        if not damage or earlier is None or _damage(earlier.folder.glob("*/" + "[0-9]" * 5)):
            return False
        _log.warning("%s; going on from the checkpoint before, %s", damage, earlier.folder)
        self.checkpoint, self.earlier = earlier, None
        return True

    def check_step(self, number: int, said: dict[str, Any]) -> None:
        """Raise a `RunError` if a step is not the one that was noted."""
        self._check(f"step {number}", self.steps.get(number), said)

    def check_life(self, number: int, said: dict[str, Any]) -> None:
        """Raise a `RunError` if others enter or leave than was noted."""
        self._check(f"entrance or exit {number} of agents", self.lives.get(number), said)

    def _check(self, which: str, known: dict[str, Any] | None, said: dict[str, Any]) -> None:
        if known is None or self.may_differ:
            return
        # runs of before do not say all of it
        differs = [name for name in said if known.get(name, said[name]) != said[name]]
        if not differs:
            return
        what = "; ".join(
            f"{name} was {known.get(name)!r} and is {said[name]!r}" for name in differs
        )
        raise RunError(
            f"{which} differs from the one that {self.folder} has: {what}; the workflow goes"
            " another way than before: something in it does not repeat (a clock, random), or the"
            " program has changed"
        )


def read_past(folder: Path) -> Past:
    """Read what a run did.

    Raises
    ------
    FolderError
        If its events are damaged.
    """
    past = Past(folder)
    path = folder / "events.jsonl"
    if not path.exists():
        raise FolderError(f"{folder} holds no run (there is no events.jsonl in it)")
    for event in read_events(path):
        _take(past, event)
    past.checkpoint, past.earlier, *_ = [*_checkpoints(folder), None, None]
    return past


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint of a run, also one that nothing goes on from."""
    generations = sorted((folder / "checkpoints").glob("*"), reverse=True)
    return next(filter(None, map(read_checkpoint, generations)), None)


def _checkpoints(folder: Path) -> Iterator[Checkpoint]:
    """Yield what a run may go on from, the newest first."""
    for generation in sorted((folder / "checkpoints").glob("*"), reverse=True):
        found = read_checkpoint(generation)
        if found is not None and not found.state["tail"]:
            yield found
        elif found is None and (generation / "state.json").exists():
            _log.warning("%s is damaged, and passed over", generation / "state.json")


def _damage(paths: Iterable[Path]) -> str:
    """Say which of some blocks is damaged; empty if all are whole."""
    for path in paths:
        try:
            blocks.read(path)
        except FolderError as error:
            return str(error)
    return ""


def _take(past: Past, event: dict[str, Any]) -> None:
    """Take one event up; what was done again takes the place of what it was before."""
    kind = event.pop("event")
    event.pop("crc", None)
    if kind == "step":
        del event["round"]
        past.steps[event.pop("step")] = event
    elif kind == "read":
        past.reads[event.pop("number")] = event["said"]
    elif kind == "form":
        kinds = tuple((name, form) for name, form in event["kinds"])
        past.forms[event["cls"], event["method"]] = Form(kinds)
    elif kind == "done":
        past.done.add(event["step"])
    elif kind == "life":
        past.lives[event.pop("number")] = event
    elif kind == "apart":
        past.apart.add((event["population"], event["block"]))
    elif kind == "round":
        for name, (step, reply) in event.get("direct", {}).items():
            past.stored[step, reply] = name, event["round"]
