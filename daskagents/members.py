"""Populations within a session, and the steps that they are asked to take."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from daskagents.agent import Agent
from daskagents.block import Charter, Scene
from daskagents.forms import Form
from daskagents.lives import Lives
from daskagents.scan import mentions
from daskagents.tasks import Mask, Part

if TYPE_CHECKING:
    from daskagents.session import Session


@dataclass
class Members:
    """A population within a session: where its blocks are now, and what is on its way to them."""

    cls: type[Agent]
    name: str
    dim: str
    bounds: NDArray[np.int64]
    frame: xr.Dataset
    blob: bytes | Charter
    charter: Any
    handles: list[Any]
    model: str = ""
    named: bool = False
    journaled: bool = False
    coming: dict[int, list[Any]] = field(default_factory=dict)

    #: How often they were asked, and what was read of their fields since.
    version: int = 0
    known: dict[str, tuple[Any, NDArray[Any]]] = field(default_factory=dict)
    #: The groups that their rows were brought into, and whether those here are the newest.
    away: Any = None
    at_home: bool = True
    moves: int = 0

    #: Columns that are no coordinates, as agents reply under their names.
    replied: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.lives = Lives(self.n, self.n)
        self.origin = id(self.frame), len(self.bounds) - 1
        self._framed: tuple[Any, Any, xr.Dataset] = (None, None, self.frame)

    @cached_property
    def sends(self) -> bool:
        """Whether agents of this class may send messages."""
        return mentions(self.cls, "send")

    @property
    def at(self) -> tuple[int, int]:
        """How often they were asked, and how often some have entered or left."""
        return self.version, self.lives.version

    @property
    def agents(self) -> Members:
        """The population of the agents that a step asks."""
        return self

    def address(self, rows: NDArray[np.int64] | None) -> tuple[list[int], list[int], list[Mask]]:
        """Return which blocks some rows are in, how many each has, and masks of them."""
        return address(self.bounds, rows)

    @property
    def are_groups(self) -> bool:
        """Whether these are the groups of a population, which have labels in place of ids."""
        return False

    def labels(self, rows: NDArray[np.int64] | None) -> Any:
        """Return what some of them are called along their dimension: agents by their ids."""
        return np.arange(self.n) if rows is None else rows

    def newest(self, session: Session) -> list[Any]:
        """Return handles of the blocks as the last step left them, brought back if need be."""
        if not self.at_home:
            self.away.bring_back(session)
        return self.handles

    def begin(self, session: Session) -> list[Any]:
        """Return handles of the blocks for a step that makes new versions of them."""
        handles = self.newest(session)
        self.away = None
        return handles

    def scene_of(self, session: Session, play: Any) -> Scene | None:
        """Return what a step's tasks are to know of a scene; None where it is of no groups."""
        return None

    @property
    def n(self) -> int:
        """Agents, with those that are gone."""
        return int(self.bounds[-1])

    def frame_of(self, rows: NDArray[np.int64] | None) -> xr.Dataset:
        """Return the coordinates of some agents; they are kept for the last that were asked for."""
        if rows is None:
            return self.frame
        whole, before, found = self._framed
        if whole is not self.frame or before is not rows:
            found = self.frame.isel({self.dim: rows})
            self._framed = self.frame, rows, found
        return found

    def describe(self) -> dict[str, Any]:
        """Say what the population is, for ``run.json``."""
        return {
            "name": self.name,
            "dim": self.dim,
            "class": self.cls.__qualname__,
            "module": self.cls.__module__,
            "agents": self.n,
            "block_size": int(self.bounds[1] - self.bounds[0]),
            "model": self.model,
            "fields": {name: f.label for name, f in self.cls.__fields__.items()},
        }


@dataclass
class Step:
    """One step that was asked for: whom it addressed, and where its results will be."""

    number: int
    members: Members
    method: str
    rows: NDArray[np.int64] | None
    indexes: list[int]
    counts: list[int]
    masks: list[Mask]
    form: Form | None = None
    bundles: list[Any] = field(default_factory=list)
    results: list[Part] | None = None
    kept: bool = False
    scene: Scene | None = None

    @property
    def addressed(self) -> int:
        """Agents that were addressed."""
        return sum(self.counts)

    @property
    def name(self) -> str:
        """What single replies are called: as the method or the scene."""
        return self.method.removeprefix("play(").removesuffix(")").rpartition(".")[2]

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of the addressed agents, in order."""
        return np.arange(self.addressed) if self.rows is None else self.rows


def address(
    bounds: NDArray[np.int64], rows: NDArray[np.int64] | None
) -> tuple[list[int], list[int], list[Mask]]:
    """Return which blocks some rows are in, how many each has, and masks of them.

    Examples
    --------
    >>> address(np.array([0, 4, 8]), np.array([5, 6]))
    ([1], [2], [slice(1, 3, None)])

    """
    sizes = np.diff(bounds)
    if rows is None or len(rows) == bounds[-1]:
        return list(range(len(sizes))), sizes.tolist(), [None] * len(sizes)
    cuts = np.searchsorted(rows, bounds)
    indexes, counts, masks = [], [], []
    for index in np.flatnonzero(np.diff(cuts)).tolist():
        local = rows[cuts[index] : cuts[index + 1]] - bounds[index]
        indexes.append(index)
        counts.append(len(local))
        masks.append(_mask(local, int(sizes[index])))
    return indexes, counts, masks


def digest_of_rows(indexes: list[int], masks: list[Mask]) -> str:
    """Return a digest of which rows are addressed."""
    digest = blake2b(digest_size=16)
    for index, mask in zip(indexes, masks, strict=True):
        digest.update(f"{index} {mask if mask is None or isinstance(mask, slice) else ''}".encode())
        if isinstance(mask, np.ndarray):
            digest.update(mask.tobytes())
    return digest.hexdigest()


def _mask(local: NDArray[np.int64], n: int) -> Mask:
    first, last = int(local[0]), int(local[-1])
    if len(local) == n:
        return None
    if last - first + 1 == len(local):
        return slice(first, last + 1)
    bits = np.zeros(n, bool)
    bits[local] = True
    return np.packbits(bits)
