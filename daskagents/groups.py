"""Groups of a population: agents that talk with each other within a step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from daskagents import grouping
from daskagents.agent import behaviour, for_blocks, unknown_field
from daskagents.environments.base import Branch, Environment
from daskagents.errors import UsageError
from daskagents.fields import Field
from daskagents.forms import TAKEN
from daskagents.members import Members
from daskagents.replies import as_branch, digest_of, hear, replies_of
from daskagents.scenes import name_of, takes
from daskagents.session import Session

if TYPE_CHECKING:
    from daskagents.population import Population


class Groups:
    """The agents of a population by the value of a field; made by `Population.groups`."""

    def __init__(
        self, population: Population, field: str, dim: str, labels: Sequence[Any] | None
    ) -> None:
        cls = population.cls
        if field not in cls.__fields__ or field.startswith("_"):
            raise UsageError(f"agents cannot be grouped by {field!r}: {unknown_field(cls, field)}")
        declared = cls.__fields__[field]
        if declared.numpy(declared.column([])).dtype == object:
            raise UsageError(
                f"agents are grouped by a number, bool, text or Enum, and {cls.__name__}.{field} is"
                f" {declared.label}"
            )
        if not re.fullmatch(r"[A-Za-z]\w*", dim) or dim in TAKEN or dim == population.dim:
            raise UsageError(f"dim is {dim!r}; give groups a dimension of another name")
        self._population, self.field, self.dim = population, field, dim
        self._every = None if labels is None else _declared(declared, labels)

    def __len__(self) -> int:
        return len(np.unique(self._values()))

    def __repr__(self) -> str:
        return f"<groups by {self.field!r} of {self._population!r}>"

    def play(
        self, scene: Any, content: Any = None, *, env: Environment | Branch | None = None
    ) -> Any:
        """Let each group play a scene, and return what the scenes return, still computing.

        A group's members answer one by one with ``await member(content)``, or all at once with
        ``await members.reply(content)``; no group waits for another. What its members assign is
        kept if the scene comes to its end; if it raises, all of them keep what they were.

        Parameters
        ----------
        scene
            ``async def scene(members, env)``; it may leave out ``env``. `members` is a sequence
            with a ``label``, a ``content`` and an ``rng``. It returns a number, bool, str, a dict
            of these, or nothing.
        content
            What is said to all groups: as for `Population.reply`, or an array over the dimension
            of the groups. Members hear it where the scene says nothing else.
        env
            The environment that scenes and members see and write to;
            ``country.branch("towns", by="room")`` where each group has one of its own.

        Returns
        -------
        xarray.Dataset or xarray.DataArray
            Over the dimension of the groups, with their values of the field as coordinate; NaN and
            ``""`` where a scene failed.

        Raises
        ------
        UsageError
            If `scene` is no coroutine function, or agents have no group.
        RunError
            In a run, if more than ``max_failed`` of the scenes failed.

        Examples
        --------
        >>> import daskagents as da
        >>> class Voter(da.Agent):
        ...     room: int = 0
        ...     lean: float = 0.0
        ...     def reply(self, message) -> float:
        ...         return self.lean
        >>> async def vote(members) -> float:
        ...     return sum([said.content for said in await members.reply()])
        >>> voters = da.Population(Voter, {"room": [7, 3, 7, 3], "lean": [1.0, 2.0, 4.0, 8.0]})
        >>> voters.groups("room").play(vote).to_series().to_dict()
        {3: 10.0, 7: 5.0}

        """
        takes(scene)
        population = self._population
        behaviour(population.cls, "reply")
        if for_blocks(population.cls, "reply"):
            raise UsageError(
                f"{population.cls.__name__} replies for whole blocks (reply_block), and members of"
                " a group answer one by one; write `def reply` or `async def reply`"
            )
        branch = as_branch(env, population.cls)
        if branch is not None and branch.by not in ("", self.field):
            raise UsageError(
                f"a group finds its own environment by what its members share: {self.field!r}, not"
                f" {branch.by!r}"
            )
        session, home = population._join()
        groups, rows = self._gather(session, home)
        heards, digest = hear(session, groups, rows, content)
        made = digest_of(np.concatenate([groups.ids, groups.cuts, groups.bounds]))
        step = session.step(
            groups,
            rows,
            f"play({name_of(scene)})",
            heards,
            digest=f"{digest} {made}",
            play=scene,
            env=branch,
        )
        # a scene may have changed any field but its own
        home.version += 1
        home.known = {self.field: (home.at, home.known[self.field][1])}
        return replies_of(session, step)

    def _values(self) -> NDArray[Any]:
        """Return the value of each agent, read anew after each step that may have changed it."""
        _, home = self._population._join()
        whole = self._population._whole
        at, values = home.known.get(self.field, (None, np.zeros(0)))
        if at != home.at:
            values = whole._values(self.field)
            home.known[self.field] = home.at, values
        if self._population._rows is not None:
            values = values[np.searchsorted(whole._ids(), self._population._ids())]
        self._check(values)
        return values

    def _check(self, values: NDArray[Any]) -> None:
        """Raise a `UsageError` if an agent is in no group."""
        if values.dtype.kind == "f":
            lost = np.isnan(values)
        elif self._population.cls.__fields__[self.field].optional:
            lost = values == ""
        else:
            return
        if lost.any():
            agent = int(self._population._ids()[lost.argmax()])
            raise UsageError(
                f"{int(lost.sum())} agents have no {self.field} and so no group (the first is agent"
                f" {agent}); leave them out with sel, or give them one"
            )

    def _gather(
        self, session: Session, home: Members
    ) -> tuple[grouping.Grouped, NDArray[np.int64] | None]:
        """Return the groups as they are now, and which of all labels they have; None for all."""
        population = self._population
        values = self._values()
        labels, number, sizes = np.unique(values, return_inverse=True, return_counts=True)
        order = np.argsort(number.ravel(), kind="stable")
        ids = population._ids()[order]
        block_size = int(home.bounds[1] - home.bounds[0])
        bounds = grouping.pack(sizes, grouping.block_rows(len(values), block_size))
        cuts = np.append(0, np.cumsum(sizes))[bounds]
        axis = self._axis(session, home, labels)
        at = axis.frame.indexes[self.dim].get_indexer(xr.Dataset(coords={"x": labels}).indexes["x"])
        rows = None if len(at) == axis.n and (at == np.arange(axis.n)).all() else at
        if rows is not None and (rows < 0).any():
            new = labels[rows < 0].tolist()[0]
            raise UsageError(
                f"{home.name!r} has a group {new!r} now that it had not before, and a table of"
                f" results has one column for each; name all of them from the start:"
                f" groups({self.field!r}, labels=[...])"
            )
        made = grouping.Grouped(
            home.cls, axis.name, self.dim, bounds, axis.frame, home.blob, home.charter, []
        )
        made.journaled, made.home, made.shared, made.ids, made.cuts = (
            home.journaled,
            home,
            self.field,
            ids,
            cuts,
        )
        if home.away is not None and made.is_like(home.away):
            made.handles = home.away.handles  # the rows are together already
            home.away = made
        return made, rows

    def _axis(self, session: Session, home: Members, labels: NDArray[Any]) -> Members:
        """Return the table of all groups that there may be, entered into the session once."""
        name = f"{home.name}.{self.field}" + f".{self.dim}" * (self.dim != "group")
        found = session.members.get(name)
        if session.store is None:  # nothing is written, so each play may have groups of its own
            found = None
        if found is None:
            if session.store is not None:
                self._check_dim(session)
            every = labels if self._every is None else self._every
            frame = xr.Dataset(coords={self.dim: every})
            found = grouping.Grouped(
                home.cls, name, self.dim, np.array([0, len(every)]), frame, b"", None, []
            )
            session.members[name] = found
        return found

    def _check_dim(self, session: Session) -> None:
        """Raise a `UsageError` if others have the dimension of these groups."""
        for other in session.members.values():
            if other.dim == self.dim or self.dim in other.frame.coords:
                what = "the dimension" if other.dim == self.dim else "a column"
                raise UsageError(
                    f"dim={self.dim!r} is {what} of {other.name!r} already; choose another name:"
                    f" groups({self.field!r}, dim={self.field + 's'!r})"
                )


def _declared(field: Field, labels: Sequence[Any]) -> NDArray[Any]:
    """Return labels that were given as the groups have them, sorted."""
    return np.unique(field.numpy(field.from_array(list(labels))))
