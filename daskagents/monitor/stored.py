"""A population of a run as its directory has it: replies, given columns, the newest state.

It is read chunk by chunk and block by block, while the run is under way and after, and needs no
class of the program.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import zarr
from numpy.typing import NDArray

from daskagents import blocks
from daskagents.block import Block
from daskagents.checked import Checked
from daskagents.columns import Column, Plain, strings
from daskagents.errors import FolderError, UsageError
from daskagents.past import Checkpoint, read_checkpoint
from daskagents.store import file_name, read_about

#: Where a value of an agent is looked for: in its replies of a round, in the columns that were
#: given with its population, or in its state as the newest checkpoint has it.
Source = Literal["reply", "given", "state"]
#: Agents that are read together, where nothing else says how many.
SPAN = 1 << 16

_unpack = msgspec.msgpack.Decoder().decode


@dataclass(frozen=True)
class Piece:
    """A block in a checkpoint: where it is, and which agents it has."""

    path: Path
    first: int
    n: int


class Stored:
    """One population of a run.

    Parameters
    ----------
    folder
        The run directory.
    population
        Its name; by default the only one, or the first.

    Raises
    ------
    FolderError
        If the folder holds no run, or cannot be seen from here.
    UsageError
        If the run has no such population.

    Attributes
    ----------
    replies : dict
        Variables over (round, agent), by name, as arrays of Zarr.
    given : dict
        Columns given with the population.
    failed
        Which agents failed in which round; None where that is not known.
    rounds, n : int
        The rounds in the results, and the agents.
    fields : dict
        The types of the agents' state, by name.
    """

    def __init__(self, folder: Path, population: str = "") -> None:
        self.folder, self.about = folder, read_about(folder)
        known = {each["name"]: each for each in self.about.get("populations", {}).values()}
        if population and population not in known:
            raise UsageError(
                f"{folder} has no population {population!r}; it has {', '.join(known) or 'none'}"
            )
        self.name = population or next(iter(known), "")
        self.said: dict[str, Any] = known.get(self.name, {})
        self.fields: dict[str, str] = self.said.get("fields", {})
        self.replies: dict[str, Any] = {}
        self.given: dict[str, Any] = {}
        self.failed: Any = None
        self.rounds, self.n, self.dim = 0, int(self.said.get("agents", 0)), "agent"
        self._open()
        self._checkpoint: tuple[Checkpoint, list[Piece]] | None = None

    def _open(self) -> None:
        """Find the arrays of the results that are about this population."""
        path = self.folder / "rounds.zarr"
        if not path.exists():
            return
        with blocks.readable(path):
            group = zarr.open_group(path, mode="r")
            about: Any = group.attrs
            self.rounds = int(about["rounds"])
            owners = about.get("owners") or {self.said.get("dim", "agent"): self.name}
            dims = [dim for dim, owner in owners.items() if owner == self.name]
            if not dims:
                return
            self.dim = dims[0]
            flag = "failed" if self.dim == "agent" else f"{self.dim}_failed"
            for name in about.get("order", ()):
                array: Any = group.get(name)
                over = () if array is None else array.metadata.dimension_names
                if over == (self.dim,) and name != self.dim:
                    self.given[name] = array
                elif over == ("round", self.dim):
                    self.n = max(self.n, array.shape[1])
                    if name == flag:
                        self.failed = array
                    else:
                        self.replies[name] = array

    @property
    def checkpoint(self) -> tuple[Checkpoint, list[Piece]]:
        """The newest checkpoint, and its blocks; none of a run that has none yet."""
        if self._checkpoint is None:
            for generation in sorted((self.folder / "checkpoints").glob("*"), reverse=True):
                found = read_checkpoint(generation)
                if found is not None:
                    self._checkpoint = found, sorted(self._pieces(generation), key=_first)
                    break
            else:
                raise UsageError(
                    f"there is no checkpoint in {self.folder} yet, and so no state of agents; look"
                    " again after the next one"
                )
        return self._checkpoint

    def _pieces(self, generation: Path) -> Iterator[Piece]:
        for path in (generation / file_name(self.name)).glob("*"):
            if path.name.isdigit():
                with blocks.readable(path):
                    said = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
                    about = said["attributes"]
                    yield Piece(path, int(about["first"]), int(about["agents"]))

    def block_of(self, agent: int) -> Block | None:
        """Return the block of an agent in the newest checkpoint; None where it has none."""
        for piece in self.checkpoint[1]:
            if piece.first <= agent < piece.first + piece.n:
                return blocks.read(piece.path)
        return None

    def width(self, *names: tuple[Source, str]) -> int:
        """Return how many agents are best read at a time."""
        found = [self._array(source, name) for source, name in names if source != "state"]
        return max([SPAN, *(int(array.chunks[-1]) for array in found)])

    def read(
        self, source: Source, name: str, start: int, stop: int, round_: int = -1
    ) -> NDArray[Any]:
        """Return one value of each of some consecutive agents; NaN or "" where there is none.

        Raises
        ------
        UsageError
            If there is no such value, with those there are.
        """
        if source == "state":
            return self._read_state(name, start, stop)
        array = self._array(source, name)
        stop = min(stop, array.shape[-1])
        if source == "given":
            return Checked(array)[start:stop]
        return Checked(array)[self.round(round_), start:stop]

    def _array(self, source: Source, name: str) -> Any:
        known = self.replies if source == "reply" else self.given
        if name not in known:
            what = "reply" if source == "reply" else "given column"
            raise UsageError(
                f"{self.name!r} has no {what} {name!r} in the results; it has"
                f" {', '.join(known) or 'none'}"
            )
        return known[name]

    def round(self, number: int) -> int:
        """Return the number of a closed round; -1 is the last one."""
        found = number + self.rounds if number < 0 else number
        if not 0 <= found < self.rounds:
            raise UsageError(
                f"there is no round {number} in the results yet; {self.rounds} are written down"
            )
        return found

    def _read_state(self, name: str, start: int, stop: int) -> NDArray[Any]:
        if name not in self.fields:
            known = ", ".join(field for field in self.fields if not field.startswith("_"))
            raise UsageError(f"{self.name!r} has no field {name!r}; it has {known or 'none'}")
        parts = []
        for piece in self.checkpoint[1]:
            first, last = max(start, piece.first), min(stop, piece.first + piece.n)
            if first < last:
                values = values_of(blocks.read(piece.path).columns[name], self.fields[name])
                parts.append(values[first - piece.first : last - piece.first])
        return np.concatenate(parts) if parts else np.zeros(0)


def _first(piece: Piece) -> int:
    return piece.first


def values_of(column: Column, label: str) -> NDArray[Any]:
    """Return the values of a column as an array, given the type of its field in words.

    Numbers and bools as they are, with NaN for None; else texts: a member of an Enum is known by
    its number alone, as its class is not here.

    Examples
    --------
    >>> from daskagents.fields import make_field
    >>> age = make_field("Player", "age", int | None)
    >>> values_of(age.column([3, None]), age.label)
    array([ 3., nan])
    >>> pair = make_field("Player", "pair", tuple[int, str])
    >>> values_of(pair.column([(3, "b")]), pair.label)
    array(["[3, 'b']"], dtype=StringDType())
    """
    if not isinstance(column, Plain):
        if _is_text(label):
            return strings(column)
        found = ["" if value is None else str(value) for value in items_of(column, label)]
        return np.array(found, np.dtypes.StringDType())
    values = column.values
    if not _is_number(label):
        missing = np.zeros(len(values), bool) if column.mask is None else column.mask
        pairs = zip(values.tolist(), missing.tolist(), strict=True)
        words = ["" if gone else f"{label} number {code}" for code, gone in pairs]
        return np.array(words, np.dtypes.StringDType())
    return values if column.mask is None else np.where(column.mask, np.nan, values.astype(float))


def items_of(column: Column, label: str) -> list[Any]:
    """Return the values of a column as plain Python objects, given the type in words.

    Examples
    --------
    >>> from daskagents.fields import make_field
    >>> pair = make_field("Player", "pair", tuple[int, str] | None)
    >>> items_of(pair.column([(3, "b"), None]), pair.label)
    [[3, 'b'], None]
    """
    if isinstance(column, Plain):
        found = (column.values if _is_number(label) else values_of(column, label)).tolist()
    elif _is_text(label):
        found = column.texts()
    elif _base(label) == "bytes":
        found = column.rows()
    else:
        try:
            found = column.each(lambda data: _unpack(data) if data else None)
        except msgspec.DecodeError as error:
            raise FolderError(f"a column of {label} cannot be read ({error})") from None
    mask = column.mask
    return found if mask is None else [None if m else v for v, m in zip(found, mask, strict=True)]


def _base(label: str) -> str:
    return label.removesuffix(" | None")


def _is_number(label: str) -> bool:
    return _base(label) in ("float", "int", "bool") or label.startswith("Literal[")


def _is_text(label: str) -> bool:
    """Whether values are kept as texts: those of str, and of a Literal of nothing else."""
    base = _base(label)
    if base.startswith("Literal["):
        words = ast.literal_eval(base.removeprefix("Literal"))
        return all(isinstance(word, str) for word in words)
    return base == "str"
