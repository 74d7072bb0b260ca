"""Populations: very many agents of one class, asked as one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from dask.array.core import Array
from numpy.typing import NDArray

from daskagents.agent import Agent, behaviour, waits
from daskagents.choosing import check_choice
from daskagents.current import current_session
from daskagents.entering import enter, leave
from daskagents.environments.base import Branch, Environment
from daskagents.errors import UsageError
from daskagents.exchange import tell
from daskagents.fields import Field, has
from daskagents.groups import Groups
from daskagents.members import Members, address
from daskagents.models.base import Model
from daskagents.models.chosen import as_model
from daskagents.portraits import portrait
from daskagents.projection import state_bytes
from daskagents.replies import as_branch, hear, make_frame, replies_of, states_of
from daskagents.scan import assigns
from daskagents.session import Session
from daskagents.table import Table, block_bounds, read_table

_NAME = re.compile(r"[A-Za-z_]\w*")


class Population:
    """A table of agents of one class, cut into blocks of rows that live on the workers.

    Parameters
    ----------
    cls
        A subclass of `Agent`.
    agents
        How many agents; or a table with a column per field: a mapping of names to sequences, an
        xarray Dataset over one dimension, or a pandas DataFrame. Fields without a column get
        their default. The columns become coordinates of every reply.
    model
        What the agents' `chat` asks; by default the model of the run. Different ones by the value
        of a field, as ``{"field": {value: model, ...}}``, or by a function of the agent.
    block_size
        Rows per block. By default it follows from the number of agents alone: 65,536 (4,096 if
        `reply` is a coroutine), or fewer so that there are at least 16 blocks of some size. Sums
        of floats are rounded block by block, so it is part of a result.
    name
        The name of the population, and of its dimension. By default the dimension is ``"agent"``
        and the name that of the workflow's parameter.

    Raises
    ------
    UsageError
        If `cls` is no agent class.
    TableError
        If the table does not fit the class.

    Examples
    --------
    >>> import daskagents as da
    >>> class Voter(da.Agent):
    ...     lean: float = 0.0
    ...
    ...     def reply(self, message):
    ...         return {"yes": self.lean > message.content}
    >>> voters = da.Population(Voter, {"lean": [-1.0, 0.5, 2.0]})
    >>> voters.reply(0.0)["yes"].values
    array([0., 1., 1.])
    >>> voters.sel(lean=2.0).reply(3.0)["yes"].values
    array([0.])

    """

    def __init__(
        self,
        cls: type[Agent],
        agents: Any,
        *,
        model: Model | Mapping[str, Mapping[Any, Model]] | Callable[[Any], Model] | None = None,
        block_size: int | None = None,
        name: str | None = None,
    ) -> None:
        if not (isinstance(cls, type) and issubclass(cls, Agent)) or cls is Agent:
            raise UsageError(f"a population is made of a subclass of daskagents.Agent, not {cls!r}")
        if name is not None and not _NAME.fullmatch(name):
            raise UsageError(f"name is {name!r}; a population's name is a Python name")
        self._begin(cls, read_table(cls, agents), as_model(model), block_size, name)

    @classmethod
    def _of(
        cls,
        agent: type[Agent],
        table: Table,
        model: Model | None,
        block_size: int | None,
        name: str | None,
    ) -> Population:
        """Make a population of a table that was read before."""
        made = object.__new__(cls)
        made._begin(agent, table, model, block_size, name)
        return made

    def _begin(
        self,
        cls: type[Agent],
        table: Table,
        model: Model | None,
        block_size: int | None,
        name: str | None,
    ) -> None:
        self.cls, self.table, self.model, self.name = cls, table, model, name
        if self.model is not None:
            check_choice(cls, self.table, self.model)
        self.block_size = block_size
        self.bounds = block_bounds(self.table.n, waits(cls), block_size)
        self.dim = name or "agent"
        self._reframe()
        self._whole, self._rows = self, None  # type: tuple[Population, NDArray[np.int64] | None]
        self.named = False
        self._known: tuple[Any, NDArray[np.int64]] | None = None
        self._members: Members | None = None
        self._session: Session | None = None

    def __len__(self) -> int:
        ids = self._there()
        return self._ever if ids is None else len(ids)

    @property
    def nbytes(self) -> int:
        """Bytes of the state of all agents at the start, on the workers; of one version of it.

        A step makes a new version of the columns that it changes, and several rounds may be under
        way at once.

        Examples
        --------
        >>> import daskagents as da
        >>> class Voter(da.Agent):
        ...     lean: float = 0.0
        >>> da.Population(Voter, 1_000_000).nbytes  # a float, and where a memory would begin
        9000272
        """
        return state_bytes(self.cls, self.table, self.bounds)

    def __repr__(self) -> str:
        fields = ", ".join(name for name in self.cls.__fields__ if not name.startswith("_"))
        part = "" if self._rows is None else f" of {len(self._whole):,}"
        members = self._current()
        blocks = len(self.bounds) - 1
        if members is not None:
            blocks = sum(held is not None for held in members.handles)
        return (
            f"<Population of {len(self):,}{part} {self.cls.__name__} in {blocks:,} block"
            f"{'s' * (blocks != 1)}; fields: {fields or 'none'}>"
        )

    def _repr_html_(self) -> str:
        return portrait(self)

    def reply(self, content: Any = None, *, env: Environment | Branch | None = None) -> Any:
        """Send a message to all these agents, and return what they reply, still computing.

        Parameters
        ----------
        content
            A number, str, bool, None, tuple or frozen dataclass, the same for all; a value that
            is still computing; or an array over the population's dimension, one for each agent.
        env
            The environment that they see as ``self.env`` and write to: what they write makes its
            next version. ``market.now`` for several populations that act at the same time;
            ``country.branch("towns", by="town")`` where each agent sees one of several.

        Returns
        -------
        xarray.Dataset or xarray.DataArray
            Over the population's dimension, a chunk per block: a Dataset where agents reply with
            a dict, a DataArray where they reply with one value. Numbers and bools are float64, so
            that an agent that failed is NaN; texts are StringDType, and ``""``.

        Raises
        ------
        UsageError
            If the class has no `reply`, or the message does not fit.
        RunError
            In a run, if more than ``max_failed`` of the agents failed.

        """
        return self.do("reply", content, env=env)

    def do(
        self, method: str, content: Any = None, *, env: Environment | Branch | None = None
    ) -> Any:
        """Call another method of all these agents, as `reply` calls ``reply``.

        Parameters
        ----------
        method
            The name of a method of the class that takes ``(self, message)``.
        content, env
            As for `reply`.

        """
        behaviour(self.cls, method)
        branch = as_branch(env, self.cls)
        session, members = self._join()
        ids = self._there()
        heards, digest = hear(session, members, ids, content)
        step = session.step(members, ids, method, heards, digest=digest, env=branch)
        return replies_of(session, step)

    def tell(self, content: Any) -> None:
        """Put a message into the inboxes of these agents, which they find with their next step.

        Parameters
        ----------
        content
            As for `reply`: the same for all, or one for each; what is still computing is waited
            for by the agents, and not here.

        Examples
        --------
        >>> import daskagents as da
        >>> class Listener(da.Agent):
        ...     def reply(self, message) -> str:
        ...         return " ".join(str(m.content) for m in self.inbox)
        >>> people = da.Population(Listener, 3)
        >>> people.tell("rain")
        >>> people.isel([1]).tell("today")
        >>> people.reply().values
        array(['rain', 'rain today', 'rain'], dtype=StringDType())
        """
        session, members = self._join()
        ids = self._there()
        heards, _ = hear(session, members, ids, content)
        if not session.retracing:
            indexes, _, masks = address(members.bounds, ids)
            tell(session, members, indexes, heards, masks)

    def sel(self, mask: Any = None, /, **values: Any) -> Population:
        """Return the agents for which a mask is true, or whose fields have these values.

        Where an agent can change the field, or the mask is still computing, this waits for the
        values. Nobody may be selected, for that may come by chance; only a value that no agent was
        given with, in a field that none can change, is an error.

        Parameters
        ----------
        mask
            A bool per agent, as an array or sequence.
        **values
            Values of fields, all of which must match; a list, set or array means any of its
            values. A member of an Enum may be given by its name; None is ``""`` in a text field.

        Examples
        --------
        >>> import daskagents as da
        >>> class Player(da.Agent):
        ...     level: int = 0
        ...     def reply(self, message) -> float:
        ...         return 0.0
        >>> players = da.Population(Player, {"level": [0, 1, 2, 1]})
        >>> len(players.sel(level=1)), len(players.sel(level=[0, 2])), len(players.isel([0]))
        (2, 2, 1)

        """
        if (mask is None) == (not values):
            raise UsageError("sel takes either a mask or fields with values: sel(level=1)")
        chosen = np.ones(len(self), bool) if mask is None else self._mask(mask)
        for name, value in values.items():
            if name not in self.cls.__fields__ or name.startswith("_"):
                known = ", ".join(n for n in self.cls.__fields__ if not n.startswith("_"))
                raise UsageError(f"{self.cls.__name__} has no field {name!r}; it has {known}")
            chosen &= self._have(self.cls.__fields__[name], value)
        return self._part(self._ids()[chosen])

    def isel(self, rows: Any) -> Population:
        """Return the agents at these positions: an int, a slice, or a sequence of ints.

        Their order stays that of the ids.
        """
        if not isinstance(rows, slice):
            rows = np.atleast_1d(rows)
            rows = rows if rows.size else rows.astype(int)
        return self._part(np.unique(self._ids()[rows]))

    def sample(self, p: float) -> Population:
        """Return some of these agents, each with a probability: who acts, of those who may.

        Whether an agent is drawn follows from the seed of the run, the name of the population, the
        agent's id, the number of the step that comes next and how many samples were drawn since the
        last step, and from nothing else. So a sample of a part holds those of its agents that the
        same sample of all would hold.

        Parameters
        ----------
        p
            The probability, from 0 to 1.

        Returns
        -------
        Population
            A part, as `sel` returns it; by chance it may hold nobody.

        Raises
        ------
        UsageError
            If `p` is no probability.

        Examples
        --------
        >>> import daskagents as da
        >>> class Player(da.Agent):
        ...     asked: int = 0
        ...     def reply(self, message) -> float:
        ...         self.asked += 1
        ...         return 1.0
        >>> players = da.Population(Player, 10_000)
        >>> some = players.sample(0.01)
        >>> 50 < len(some) < 150, some.reply().sizes["agent"] == len(some)
        (True, True)

        """
        session, members = self._join()
        ids = self._there()
        return self._part(members.lives.draw(p, ids, session.seed, members.name, session.count))

    def add(self, agents: Any) -> Population:
        """Let new agents enter, in a run or outside one.

        They have the next ids, which are never given twice, and blocks of their own; so agents that
        are added together cost less than one after another. Other parts do not hold them.

        Parameters
        ----------
        agents
            How many, or a table, as for `Population`.

        Returns
        -------
        Population
            The new agents, as a part.

        Raises
        ------
        TableError
            If the table does not fit the class.
        UsageError
            If this is a part.

        Examples
        --------
        >>> import daskagents as da
        >>> class Player(da.Agent):
        ...     name: str = ""
        ...     def reply(self, message) -> str:
        ...         return f"{message.content}, says {self.name}"
        >>> players = da.Population(Player, {"name": ["Ann", "Bob"]})
        >>> born = players.add({"name": ["Cid"]})
        >>> born.reply("Hello").to_series().to_dict(), len(players)
        ({2: 'Hello, says Cid'}, 3)

        """
        if self._rows is not None:
            raise UsageError("agents are added to a whole population, not to a part of it")
        table = read_table(self.cls, agents)
        session, members = self._join()
        asked = self.model or (session.model if waits(self.cls) else None)
        if asked is not None:
            check_choice(self.cls, table, asked)
        bounds = block_bounds(table.n, waits(self.cls), self.block_size)
        return self._part(enter(session, members, table, bounds))

    def remove(self, mask: Any = None, /) -> None:
        """Let agents leave: they are asked no more, in no part, and nobody gets their ids.

        Parameters
        ----------
        mask
            A bool per agent, as for `sel`; None, on a part, means all of the part. Where it is of
            nobody, nothing happens.

        Raises
        ------
        UsageError
            If the mask does not fit, or there is none for a whole population.

        Examples
        --------
        >>> import daskagents as da
        >>> class Player(da.Agent):
        ...     money: float = 1.0
        ...     def reply(self, message) -> float:
        ...         self.money += message.content
        ...         return self.money
        >>> players = da.Population(Player, {"money": [1.0, 2.0, 3.0]})
        >>> players.remove(players.reply(-2.0) < 0)
        >>> len(players), players.to_dataset()["money"].to_series().to_dict()
        (2, {1: 0.0, 2: 1.0})

        """
        if mask is None and self._rows is None:
            raise UsageError("remove takes a mask, or a part: players.sel(age=100).remove()")
        session, members = self._join()
        ids = self._ids()
        leave(session, members, ids if mask is None else ids[self._mask(mask)])

    def groups(
        self, field: str, *, dim: str = "group", labels: Sequence[Any] | None = None
    ) -> Groups:
        """Return these agents in groups that can play scenes: ``groups("room").play(scene)``.

        Parameters
        ----------
        field
            The agents that have the same value of it are a group.
        dim
            The dimension of the groups in results; a run that groups by several fields needs
            several.
        labels
            All values that there may be in a run; by default those of the first play.

        Examples
        --------
        >>> import daskagents as da
        >>> class Voter(da.Agent):
        ...     room: int = 0
        >>> len(da.Population(Voter, {"room": [0, 1, 2, 1]}).groups("room"))
        3

        """
        return Groups(self, field, dim, labels)

    def to_dataset(self) -> xr.Dataset:
        """Return the current state of these agents, a variable per field, still computing.

        Texts are StringDType (None as ``""``), missing numbers NaN, Enums their names, and tuples
        and dataclasses Python objects.
        """
        session, members = self._join()
        return states_of(session, members, self._there())

    def _mask(self, mask: Any) -> NDArray[np.bool_]:
        if isinstance(mask, xr.DataArray):
            if self.dim in mask.indexes:
                mask = mask.reset_coords(drop=True)  # texts among them could not be filled up
                mask = mask.reindex({self.dim: self._ids()}, fill_value=False)
            mask = mask.values
        elif isinstance(mask, Array):
            mask = mask.compute()
        found = np.asarray(mask)
        if found.dtype != bool or found.shape != (len(self),):
            raise UsageError(
                f"a mask has one bool for each of the {len(self)} agents, not"
                f" {found.dtype} of shape {found.shape}"
            )
        return found

    def _have(self, field: Field, value: Any) -> NDArray[np.bool_]:
        """Return which agents have one of some values in a field."""
        wanted = value if isinstance(value, list | set | np.ndarray) else [value]
        among = field.numpy(field.from_array(list(wanted)))
        found = has(self._values(field.name), among)
        if not found.any() and not self._is_open(field.name):
            given = np.asarray(self._given.coords[field.name].values)
            if not has(given, among).any():
                said = f"none has {field.name}={value!r}"
                raise UsageError(f"no agent of {self!r} is selected: {said}")
        return found

    def _is_open(self, name: str) -> bool:
        """Whether agents may have other values in a field than they were given with."""
        return name not in self._given.coords or assigns(self.cls, name)

    def _values(self, name: str) -> NDArray[Any]:
        """Return a field's values: as they were given if no agent can change them."""
        if self._is_open(name):
            return np.asarray(self.to_dataset()[name].values)
        values, ids = np.asarray(self._given.coords[name].values), self._there()
        return values if ids is None else values[ids]

    def _part(self, ids: NDArray[np.int64]) -> Population:
        """Return the agents with these ids, which go up."""
        part = object.__new__(type(self))
        part.__dict__.update(self.__dict__)
        part._rows, part._known = ids, None
        return part

    def _current(self) -> Members | None:
        """Return the population as it is in the session that it has joined; None before that."""
        whole = self._whole
        return None if whole._session is None or whole._session.closed else whole._members

    @property
    def _ever(self) -> int:
        """How many agents there have been in the whole population."""
        members = self._current()
        return self.table.n if members is None else members.n

    @property
    def _given(self) -> xr.Dataset:
        """The columns that agents were given with."""
        members = self._current()
        return members.frame if members is not None and members.lives.version else self._frame

    def _there(self) -> NDArray[np.int64] | None:
        """Return the ids of those of these agents that are there; None for all there ever were."""
        members = self._current()
        if members is None or members.lives.gone is None:
            return self._rows
        if self._rows is None:
            return members.lives.there()
        at = members.lives, members.lives.version
        if self._known is None or self._known[0] != at:
            self._known = at, self._rows[~members.lives.gone[self._rows]]
        return self._known[1]

    def _ids(self) -> NDArray[np.int64]:
        """Return the ids of those of these agents that are there."""
        ids = self._there()
        return np.arange(self._ever) if ids is None else ids

    def _copy(self) -> Population:
        """Return the same population in its first state, in no session yet."""
        whole = object.__new__(type(self._whole))
        whole.__dict__.update(self._whole.__dict__)
        whole._whole, whole._rows = whole, None
        whole._members, whole._session = None, None
        if self._rows is None:
            return whole
        part = object.__new__(type(self))
        part.__dict__.update(whole.__dict__)
        part._rows = self._rows
        return part

    def _sample(self, rows: NDArray[np.int64]) -> Population:
        """Return a population of some agents of this one as they are given, each in its block."""
        whole, table = self._whole._copy(), self.table
        columns = {name: column.take(rows) for name, column in table.columns.items()}
        whole.table = Table(len(rows), columns)
        whole.bounds = np.arange(len(rows) + 1)
        whole._reframe()
        return whole

    def _reframe(self) -> None:
        """Make the coordinates anew, from the table."""
        self._frame = make_frame(self.table, self.cls.__fields__, self.dim, self.bounds)

    def _join(self, name: str = "", session: Session | None = None) -> tuple[Session, Members]:
        """Bring the population into the session of the run, or of the current client."""
        whole = self._whole
        if whole._members is None or whole._session is None or whole._session.closed:
            whole._session = session or current_session()
            default = whole.cls.__name__.lower()
            whole._members = whole._session.enter(
                whole.cls,
                whole._session.unique(whole.name or name or default),
                whole.dim,
                whole.bounds,
                whole._frame,
                dict(whole.table.columns),
                whole.model,
            )
            whole._members.named = whole.named
        rows = self._rows
        if rows is not None and len(rows) and rows[-1] >= whole._members.n:
            raise UsageError(
                f"agent {rows[-1]} of {whole._members.name!r} is not there: it entered in"
                " another run, or outside this one"
            )
        return whole._session, whole._members
