"""Interventions: what is changed from outside as a round begins, written down before it counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from daskagents import syncing
from daskagents.block import Block, Charter, pick_rows
from daskagents.errors import UsageError
from daskagents.events import line_of, read_events
from daskagents.members import Members
from daskagents.plan import plan_each
from daskagents.population import Population
from daskagents.sealing import charter_of
from daskagents.steering.peeking import fitting
from daskagents.table import Table
from daskagents.tasks import Bundle, Mask, state_of, writing

if TYPE_CHECKING:
    from daskagents.session import Session

#: The file of a run directory that holds them.
FILE = "interventions.jsonl"


@dataclass(frozen=True)
class Intervention:
    """What is changed as a round begins.

    Parameters
    ----------
    round
        The round, from 0; the change is there before its first step.
    population, environment
        Whose fields are set: those of one of them.
    set
        Fields and their new values, as JSON has them.
    where
        Which agents of the population: those with these values of fields.
    agents
        Which agents: those with these ids; None for all that `where` means.
    message
        What is put into their inboxes; None for nothing.
    made
        When it was asked for.
    """

    round: int
    population: str = ""
    environment: str = ""
    set: Mapping[str, Any] | None = None
    where: Mapping[str, Any] | None = None
    agents: Sequence[int] | None = None
    message: Any = None
    made: str = ""

    def checked(self, session: Session) -> Intervention:
        """Return it with values that fit; a `UsageError` if the run has not what it names."""
        if self.environment:
            self._check_environment(session)
            return self
        members = session.members.get(self.population)
        if members is None:
            raise UsageError(
                f"the run has no population {self.population!r}; it has {_names(session.members)}"
            )
        if not self.set and self.message is None:
            raise UsageError("an intervention sets fields or sends a message; give set or message")
        for agent in self.agents or ():
            if type(agent) is not int or not 0 <= agent < members.n:
                raise UsageError(f"there is no agent {agent!r}; the ids are 0 to {members.n - 1}")
        cls = members.cls
        given = {name: [value] for name, value in (self.set or {}).items()}  # a tuple is one value
        values = {name: value for name, (value,) in fitting(cls, given).items()}
        return replace(self, set=values or None, where=fitting(cls, self.where or {}) or None)

    def _check_environment(self, session: Session) -> None:
        versions = session.worlds.get(self.environment)
        if versions is None:
            raise UsageError(
                f"the run has no environment {self.environment!r}; it has {_names(session.worlds)}"
            )
        if not self.set or self.where or self.agents is not None or self.message is not None:
            raise UsageError("of an environment fields are set: give set, and nothing else")
        cls = versions.realm.tree.cls
        for name, value in self.set.items():
            if name not in cls.__fields__:
                raise UsageError(
                    f"{cls.__name__} has no field {name!r}; it has {_names(cls.__fields__)}"
                )
            cls.__fields__[name].coerce(cls.__name__, value)

    def apply(self, session: Session) -> int:
        """Change it; return how many agents are meant, or 0 for an environment."""
        if self.environment:
            session.worlds[self.environment].set(self.set or {})
            return 0
        population = population_of(session, session.members[self.population])
        if self.where:
            population = _having(population, self.where)
        if self.agents is not None:
            wanted = np.unique(np.asarray(self.agents, np.int64))
            population = population._part(np.intersect1d(population._ids(), wanted))
        if not len(population):
            return 0
        if self.set:
            _set_fields(session, population, self.set)
        if self.message is not None:
            population.tell(self.message)
        return len(population)


def _names(known: Any) -> str:
    return ", ".join(name for name in known if not name.startswith("_")) or "none"


def population_of(session: Session, members: Members) -> Population:
    """Return a population of a session as workflows have it."""
    population = Population._of(members.cls, Table(members.n, {}), None, None, None)
    population.bounds, population.dim, population._frame = (
        members.bounds,
        members.dim,
        members.frame,
    )
    population._members, population._session = members, session
    return population


def _having(population: Population, where: Mapping[str, Any]) -> Population:
    """Return the agents with these values; nobody, where no agent was given with one."""
    try:
        return population.sel(**where)
    except UsageError:
        return population._part(np.empty(0, np.int64))


def _set_fields(session: Session, population: Population, values: Mapping[str, Any]) -> None:
    """Give some agents other values, in new versions of their blocks."""
    _, members = population._join()
    members.version += 1
    if session.retracing:
        return
    handles = members.begin(session)
    indexes, _, masks = members.address(population._there())
    name = f"change-{members.name}-{session.count}-{members.version}-{session.token}"
    rows = [
        (members.charter, handles[index], dict(values), mask)
        for index, mask in zip(indexes, masks, strict=True)
    ]
    changed = session.executor.submit(plan_each(name, change, rows))
    for index, handle in zip(indexes, changed, strict=True):
        members.handles[index] = handle


def change(
    blob: bytes | Charter, held: Block | Bundle, values: Mapping[str, Any], mask: Mask
) -> Block:
    """Return a block in which some agents have other values."""
    block, cls = state_of(held), charter_of(blob).cls
    rows = pick_rows(mask, block.n)
    chosen: NDArray[np.bool_] = np.full(block.n, rows is None)
    if rows is not None:
        chosen[rows] = True
    columns = dict(block.columns)
    for name, value in values.items():
        field = cls.__fields__[name]
        new = field.tolist(field.from_array([value]))[0]
        old = field.tolist(columns[name])
        columns[name] = field.column([new if c else o for c, o in zip(chosen, old, strict=True)])
    return Block(block.first, block.n, columns, block.ids, block.mail)


def write(folder: Path, every: Sequence[Intervention], *, sync: bool) -> None:
    """Write all interventions of a run down: at once, or not at all."""
    draft = folder / f"{FILE}.new"
    lines = [
        line_of("intervention", {n: v for n, v in asdict(one).items() if v not in (None, "")}, repr)
        for one in every
    ]
    with writing(draft):
        draft.write_text("".join(lines), encoding="utf-8")
        syncing.replace(draft, folder / FILE, sync=sync)


def read(folder: Path) -> list[Intervention]:
    """Read the interventions of a run, in the order in which they were made."""
    path = folder / FILE
    if not path.exists():
        return []
    found = []
    for event in read_events(path):
        del event["event"]
        event.pop("crc", None)
        found.append(Intervention(**event))
    return found
