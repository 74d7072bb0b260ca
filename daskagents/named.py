"""Named agents: populations of one, called one at a time, in a workflow of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from daskagents import html
from daskagents.agent import Agent
from daskagents.block import Said
from daskagents.errors import AgentError, NotStoredError, UsageError
from daskagents.models.base import Model
from daskagents.models.describe import describe_model
from daskagents.past import LOST
from daskagents.population import Population
from daskagents.replies import as_branch, hear
from daskagents.session import Session


class LazyMessage:
    """What a named agent will have said; reading `content` waits for it.

    Hand it on to another agent without reading it, and the two wait for each other by themselves.
    """

    role = "user"

    def __init__(self, session: Session, step: int, said: Any, name: str) -> None:
        self._session, self._step, self._said, self.name = session, step, said, name
        self._read: tuple[Any] | None = None

    def _enter(self, session: Session) -> Any:
        """Return what enters a step: a handle, or the value if it is from before a checkpoint."""
        if self._said is LOST and not session.retracing:
            if self._read is None:
                raise NotStoredError
            return Said(*self._read, self.name)
        if session is self._session and (self._step >= session.cut or session.retracing):
            return self._said
        (said,) = self._session.executor.gather([self._said])
        return said

    @property
    def content(self) -> Any:
        """What was said.

        Raises
        ------
        AgentError
            If the agent failed, or one whose message it waited for.

        """
        said = self._session.read_said(self._said)
        if said.failure:
            raise AgentError(said.failure)
        self._read = (said.content,)
        return dict(said.content) if isinstance(said.content, dict) else said.content

    @property
    def text(self) -> str:
        """The content as text."""
        content = self.content
        return "" if content is None else str(content)

    def __repr__(self) -> str:
        if self._read:  # it is shown once somebody has read it: looking neither waits nor reads
            return f"<message of {self.name}: {html.short(*self._read)}>"
        return f"<message of {self.name}{', still computing' * self._waits}>"

    def _repr_html_(self) -> str:
        state = "still computing" if self._waits else "there, not read yet"
        return html.table(
            f"Message of {self.name}",
            {"content": html.short(*self._read)} if self._read else {"state": state},
        )

    @property
    def _waits(self) -> bool:
        return self._said is not LOST and not self._session.executor.done([self._said])


class Named:
    """One agent with a name, made by `spawn`; calling it asks it, in the order of the calls."""

    def __init__(self, population: Population) -> None:
        self._population = population
        population.named = True

    def __call__(self, content: Any = None, *, env: Any = None) -> LazyMessage:
        """Send a message, and return the reply at once, still computing.

        Parameters
        ----------
        content
            A value, a message, or another agent's reply that is still computing.
        env
            The environment that it sees, as for `Population.reply`.

        """
        return self.do("reply", content, env=env)

    def do(self, method: str, content: Any = None, *, env: Any = None) -> LazyMessage:
        """Call another method of the agent."""
        branch = as_branch(env, self._population.cls)
        session, members = self._population._join()
        heards, digest = hear(session, members, None, content)
        step = session.step(members, None, method, heards, named=True, digest=digest, env=branch)
        return LazyMessage(session, step.number, session.said(step, self.name), self.name)

    def __getattr__(self, name: str) -> Any:
        said = f"{type(self).__name__!r} object has no attribute {name!r}"
        if name in ("add", "remove", "sample", "sel", "isel"):
            said += (
                ": it is one agent, which is called; populations have parts, and agents that come"
            )
        raise AttributeError(said)

    @property
    def name(self) -> str:
        """The agent's name."""
        return str(self._population.name)

    def __repr__(self) -> str:
        return f"<{self._population.cls.__name__} {self.name}>"

    def _repr_html_(self) -> str:
        population = self._population
        columns = population.table.columns
        rows = [
            (
                name,
                field.label,
                html.short(field.item(columns[name], 0) if name in columns else field.default),
            )
            for name, field in population.cls.__fields__.items()
            if not name.startswith("_")
        ]
        about = {"agent": population.cls.__name__, "model": describe_model(population.model)}
        return html.table(self.name, about, rows, ("field", "type", "at the start"))


def spawn(agent: Agent, *, model: Model | None = None, name: str | None = None) -> Named:
    """Make one named agent, that can be called like a function.

    Parameters
    ----------
    agent
        An instance of an agent class, with its first values and what it remembers.
    model
        What its `chat` asks; by default the model of the run.
    name
        By default the value of its field ``name``, if it has one, else its class's name.

    Returns
    -------
    Named
        Calling it returns a message at once, still computing; messages handed on to other agents
        make the order of things, and all that is independent runs side by side.

    Raises
    ------
    FieldError
        If the instance was given something that is no field of its class.

    Examples
    --------
    >>> import daskagents as da
    >>> class Parrot(da.Agent):
    ...     name: str = ""
    ...     heard: int = 0
    ...
    ...     def reply(self, message):
    ...         self.heard += 1
    ...         return f"{message.content}! ({self.heard})"
    >>> polly, rico = da.spawn(Parrot(name="Polly")), da.spawn(Parrot(name="Rico"))
    >>> rico(polly("hello")).content
    'hello! (1)! (1)'

    """
    if not isinstance(agent, Agent):
        raise UsageError(f"spawn takes an instance of an agent class, not {agent!r}")
    cls = type(agent)
    values = agent._values()
    memory = cls.__fields__["_turns"].column([values.pop("_turns")])
    population = Population(cls, {field: [v] for field, v in values.items()} or 1, model=model)
    table = population.table
    population.table = replace(table, columns={**table.columns, "_turns": memory})
    own = getattr(agent, "name", None)
    population.name = name or (own if isinstance(own, str) and own else cls.__name__)
    return Named(population)


__all__ = ["LazyMessage", "Named", "spawn"]
