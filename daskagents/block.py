"""The records that a step is given and that it returns: all immutable, none knows Dask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.agent import Agent
from daskagents.columns import Column
from daskagents.forms import Form
from daskagents.mail import Mail, Posted
from daskagents.message import Message
from daskagents.models.base import Model
from daskagents.usage import Tally


@dataclass(frozen=True)
class Block:
    """Rows of a population, a column per field: consecutive agents, or those of some `ids`."""

    first: int
    n: int
    columns: Mapping[str, Column]
    ids: NDArray[np.int64] | None = None
    mail: Mail | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all columns, and of what waits in the agents' inboxes."""
        own = 0 if self.ids is None else self.ids.nbytes
        own += 0 if self.mail is None else self.mail.nbytes
        return own + sum(column.nbytes for column in self.columns.values())

    def ids_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of the agents in some rows."""
        return self.first + rows if self.ids is None else self.ids[rows]


@dataclass(frozen=True)
class Charter:
    """What all steps of one population share; sent to each worker once."""

    cls: type[Agent]
    name: str
    seed: int
    model: Model | None


@dataclass(frozen=True)
class Scene:
    """What the groups of a population play in one step.

    Parameters
    ----------
    play
        The coroutine function, or what it was sealed into.
    field
        Which the agents of a group have in common.
    bounds
        The number of the first group of each block, and that of all groups.
    """

    play: Any
    field: str
    bounds: NDArray[np.int64]


@dataclass(frozen=True)
class Call:
    """What one step asks of every agent, or every group, of a population of so many agents."""

    step: int
    method: str = "reply"
    form: Form | None = None
    scene: Scene | None = None
    population: int = 0
    gone: NDArray[np.uint8] | None = None
    sends: bool = True


@dataclass(frozen=True)
class Failure:
    """Why an agent failed, in which line of its code if it was there, and what it heard last.

    Where a scene failed, `group` says of which group, and `agent` who failed in it; or its first
    member, if the scene itself did.
    """

    agent: int
    reason: str
    where: str
    answer: str = ""
    group: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.where})" if self.where else self.reason

    def among(self, failed: int, asked: int) -> tuple[str, str]:
        """Say how many failed, and that this was the first: in two parts of a sentence."""
        what, who = ("groups", self.group) if self.group else ("agents", f"agent {self.agent}")
        return f"{failed} of {asked} {what} failed", f"the first was {who}: {self}"


@dataclass(frozen=True)
class Outcome:
    """What one step made of one block."""

    block: Block
    form: Form | None
    replies: Mapping[str, Column]
    failed: NDArray[np.bool_]
    failures: Mapping[str, int]
    first_failure: Failure | None
    usage: Tally
    contents: Any = None
    lapses: tuple[Failure, ...] = ()
    written: Mapping[tuple[str | int, ...], Any] = field(default_factory=dict)
    posted: Posted = field(default_factory=Posted)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows and the replies."""
        own = self.block.nbytes + self.posted.nbytes + len(self.failed)
        return own + sum(column.nbytes for column in self.replies.values())


@dataclass(frozen=True)
class Said:
    """What one named agent said, or why it could not."""

    content: Any
    name: str = ""
    failure: str = ""


#: A message to all agents, the value of a lazy one, one for each agent, or a named agent's.
Heard = Message | NDArray[Any] | Said


def first_block(cls: type[Agent], first: int, n: int, given: Mapping[str, Column]) -> Block:
    """Make the first version of a block, from given columns and the defaults of the others."""
    columns = {
        name: given[name] if name in given else declared.full(n)
        for name, declared in cls.__fields__.items()
    }
    return Block(first, n, columns)


def pick_rows(mask: NDArray[np.uint8] | slice | None, n: int) -> NDArray[np.int64] | None:
    """Return the positions that a packed mask or a slice addresses; None for all."""
    if mask is None:
        return None
    if isinstance(mask, slice):
        return np.arange(n)[mask]
    return np.flatnonzero(np.unpackbits(mask, count=n))
