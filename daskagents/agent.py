"""Agents: what a user writes as a class, and what one agent may touch."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from daskagents.annotations import own_annotations
from daskagents.errors import AgentError, FieldError, UsageError
from daskagents.fields import MISSING, Field, make_field
from daskagents.mail import NO_MAIL
from daskagents.message import Message
from daskagents.models.base import Answer, Request
from daskagents.models.prompt import parts, prompt
from daskagents.question import answer
from daskagents.rng import Draws, Rng
from daskagents.words import step_key

if TYPE_CHECKING:
    from daskagents.host import Host

#: Names that mean something to every agent and so cannot be fields.
RESERVED = frozenset(
    "id rng env inbox inbox_limit chat send memory remember memory_limit reply reply_block fail"
    " interview round agent failed n_failed n_agents calls prompt_tokens completion_tokens cost"
    " seconds".split()
)
#: Methods that every agent has, and that do not answer a step.
_OWN = frozenset({"chat", "fail", "interview", "remember", "send"})
#: Types of values that one agent could change for all others.
_MUTABLE = (list, dict, set, bytearray, np.ndarray)


class _Reader:
    """Reads a field that was not assigned in this step from the agent's row."""

    def __init__(self, field: Field) -> None:
        self.field = field

    def __get__(self, agent: Agent | None, owner: type[Agent]) -> Any:
        if agent is None:
            return None if self.field.required else self.field.default
        if agent._host is not None:
            return agent._host.item(self.field.name, agent._row)
        if self.field.required:
            raise AttributeError(f"{owner.__name__}.{self.field.name} has no value yet")
        return self.field.default


class _Nowhere:
    """Stands for the environment where there is none."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise UsageError(
            f"self.env.{name}: these agents see no environment; give the step one:"
            " players.reply(..., env=market)"
        )


NOWHERE = _Nowhere()


class Agent:
    """One agent: a row of state, and the behaviour of its class.

    Subclass it, declare fields with annotations, and write `reply`. Each annotated name is a
    column of the population; assigning it on ``self`` is the only way to change an agent. Values
    are immutable: float, int, bool, str, bytes, tuple, None, an Enum or a frozen dataclass.

    Parameters
    ----------
    **values
        Values of the declared fields, by name; the others get their defaults.

    Attributes
    ----------
    id : int
        The agent's number in its population, from 0.
    rng : Rng
        Random numbers that depend on the run's seed, the population, the agent, the step and how
        many were drawn, and on nothing else.
    env : Environment
        The environment that the step was given: its version at the step's start.
    inbox : Inbox
        The messages that other agents have sent since this one last replied: of the steps in their
        order, and of one step by the ids of the senders. In `reply_block`, arrays of them all.
    memory : tuple of Message
        What the agent remembers, oldest first; bounded by the class attribute ``memory_limit``.

    Raises
    ------
    FieldError
        When the class is made: for a field of a mutable type, a reserved name, or a default that
        does not fit. When an agent is made: for an unknown field, a value that does not fit, or
        none where there is no default.
    UsageError
        When the class is made: for a `reply` that cannot be called, or an ``__init__``.

    Examples
    --------
    >>> import daskagents as da
    >>> class Voter(da.Agent):
    ...     lean: float = 0.0
    ...     votes: int = 0
    ...
    ...     def reply(self, message):
    ...         self.votes += 1
    ...         return {"yes": self.lean > 0}
    >>> Voter(lean=0.5).reply(da.Message("Well?"))
    {'yes': True}

    """

    __slots__ = ("__dict__", "__weakref__", "_host", "_row", "env", "id", "inbox", "rng")

    #: How many messages an agent remembers; None for all.
    memory_limit: ClassVar[int | None] = None
    #: How many messages may wait for an agent; None for any number.
    inbox_limit: ClassVar[int | None] = 10_000
    __fields__: ClassVar[dict[str, Field]] = {}
    __own_fields__: ClassVar[dict[str, Field]] = {}

    id: int
    rng: Rng
    env: Any
    inbox: Any
    _host: Host | None
    _row: int
    _turns: tuple[Any, ...]

    def __init__(self, **values: Any) -> None:
        self._host, self._row, self.id, self.env, self.inbox = None, 0, 0, NOWHERE, NO_MAIL
        self.rng = Draws(step_key(0, type(self).__name__, 0), _NOBODY).rng(0)
        for name, value in values.items():
            if name not in self.__fields__ or name == "_turns":
                raise FieldError(unknown_field(type(self), name))
            setattr(self, name, self.__fields__[name].coerce(value))
        for name, field in self.__fields__.items():
            if field.required and name not in values:
                cls = type(self).__name__
                raise FieldError(f"{cls}.{name} has no default; give it: {cls}({name}=...)")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        fields: dict[str, Field] = {}
        for base in reversed(cls.__mro__):  # a base that is no agent class declares fields too
            known = vars(base).get("__own_fields__")
            own = _own_fields(base, fields) if known is None else known
            fields |= own
        cls.__fields__, cls.__own_fields__ = fields, own
        for name, field in fields.items():
            setattr(cls, name, _Reader(field))
        _check_class(cls)

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name, '?')!r}" for name in self.__fields__)
        return f"{type(self).__name__}({', '.join(s for s in shown if s[0] != '_')})"

    def _values(self) -> dict[str, Any]:
        """Return the value of every field, of an agent that stands alone."""
        for name in self.__dict__.keys() - self.__fields__.keys():
            raise FieldError(unknown_field(type(self), name))
        return {name: getattr(self, name) for name in self.__fields__}

    @property
    def memory(self) -> tuple[Message, ...]:
        """What this agent remembers, oldest first."""
        return tuple(Message(*turn) for turn in self._turns)

    def remember(self, message: Message | Answer | str) -> None:
        """Add a message to the memory; an `Answer` as what the agent itself said.

        Past ``memory_limit`` messages the oldest are forgotten.
        """
        said = as_message(message)
        content = said.content
        if not isinstance(content, str | float | int | bool | bytes | None):
            content = str(content)
        turns = (*self._turns, (content, said.role, said.name))
        limit = self.memory_limit
        self._turns = turns if limit is None else turns[max(0, len(turns) - limit) :]

    def fail(self, where: Any, reason: str) -> None:
        """Let this agent fail if `where` holds: it keeps its old state, and is counted.

        In `reply_block`, those agents for which the array holds; the others go on.

        Parameters
        ----------
        where
            Whether it fails; in `reply_block` a bool for all agents, or an array of one for each.
        reason
            What the first failure of a step says.

        Raises
        ------
        AgentError
            In `reply`, if `where` holds; let it pass.

        Examples
        --------
        >>> import daskagents as da
        >>> class Trader(da.Agent):
        ...     money: float = 0.0
        ...
        ...     def reply(self, message):
        ...         self.fail(self.money < 10, "no money left")
        ...         self.money -= 10
        >>> Trader(money=5).reply(da.Message())
        Traceback (most recent call last):
            ...
        daskagents.errors.AgentError: no money left
        """
        if self._host is not None:
            self._host.fail(where, reason)
        elif where:
            raise AgentError(reason)

    def send(self, to: Any, content: Any, where: Any = None) -> None:
        """Send a message to other agents of this population: they get it with their next step.

        Parameters
        ----------
        to
            The id of an agent, or several ids; ``{"room": 3}`` for all with this value in a field;
            ``"everyone"``. In `reply_block` an array of an id for each agent, or one for all.
        content
            A number, bool, str, None, or a tuple of these; in `reply_block` an array, too.
        where
            In `reply_block`, which agents send; by default all.

        Raises
        ------
        UsageError
            If `to` means nobody. Ids that no agent has are counted in ``n_undelivered``.

        Examples
        --------
        >>> import daskagents as da
        >>> class Gossip(da.Agent):
        ...     heard: int = 0
        ...
        ...     def reply(self, message):
        ...         self.heard += len(self.inbox)
        ...         self.send((self.id + 1) % 3, f"I am {self.id}")
        ...         return {"heard": self.heard, "from": ",".join(m.name for m in self.inbox)}
        >>> people = da.Population(Gossip, 3)
        >>> people.reply()["heard"].values, people.reply()["from"].values
        (array([0., 0., 0.]), array(['2', '0', '1'], dtype=StringDType()))
        """
        if self._host is None:
            raise UsageError(f"this {type(self).__name__} stands alone and has nobody to send to")
        self._host.send(self, to, content, where)

    async def chat(
        self,
        messages: Sequence[Message | Answer | str] | Message | str = (),
        *,
        system: str | tuple[str, str] = "",
        schema: Any = None,
        extract: bool = False,
        choices: Sequence[str | int] = (),
        **sampling: Any,
    ) -> Answer:
        """Ask the model of this agent's population, or of the run.

        Parameters
        ----------
        messages
            The conversation: strings (said by the user), messages, answers, or the memory.
        system
            What the model is told before. Of a pair ``(shared, own)`` the first is what many
            agents are told alike, and the second what only this one is: it stands where the
            conversation becomes the agent's own, so that servers keep what prompts share.
        schema
            What the answer is to be, and its ``value`` then is: a frozen dataclass, an Enum, a
            Literal, float, int, bool or str, with bounds by ``Annotated[int, msgspec.Meta(...)]``.
        extract
            Whether to ask for free text first, in which the model may think aloud, and then for
            what the schema wants of it. This takes two calls.
        choices
            Options, of which the answer's ``value`` is one; its ``probabilities`` tell how likely
            each was, where the endpoint tells.
        **sampling
            Parameters of this call, such as ``temperature=0.2``.

        Returns
        -------
        Answer
            With ``text``, ``value``, ``how`` the value was come by, ``probabilities``,
            ``reasoning``, ``tokens``, ``prompt_tokens``, ``completion_tokens``.

        Raises
        ------
        UsageError
            If the schema is of no type that can be asked for, or the agent has no model.
        ModelError
            If the model cannot be asked or its answer cannot be used. An agent that lets it pass
            keeps its old state and is counted as failed.

        """
        if self._host is None:
            raise UsageError(
                f"this {type(self).__name__} stands alone and has no model; put it into a"
                " population, or da.spawn(agent, model=...)"
            )
        if isinstance(messages, str | Message | Answer):
            messages = (messages,)
        turns = tuple(as_message(message) for message in messages)
        if system:
            turns = prompt(turns, *parts(system))
        if isinstance(choices, str):
            raise UsageError(f"choices={choices!r}: give a list of options")
        asked = Request(
            turns,
            schema,
            sampling,
            self.rng,
            extract=extract,
            choices=tuple(choices),
            keeper=self._host.keeper,
        )
        return await self._host.chat(self, asked)

    async def interview(self, message: Message) -> Any:
        """Answer a question from outside the run, on a copy of this agent: override it at will.

        It is called by `OpenRun.interview` and `OpenRun.survey`, and nothing that it changes or
        sends is kept. By default the model is asked, and told the agent's fields and its memory;
        a class whose agents ask no model defines ``def interview(self, message)``.

        Parameters
        ----------
        message
            Its text is the question; its content too, or a `daskagents.question.Question` where
            there are options or a schema.

        Returns
        -------
        float, int, bool, str or dict
            The answer, as from `reply`.
        """
        return await answer(self, message)


def as_message(message: Message | Answer | str) -> Message:
    """Return what was said as a message: a str by the user, an answer by the assistant."""
    if isinstance(message, Message):
        return message
    if isinstance(message, Answer):
        return Message(message.text, "assistant")
    if isinstance(message, str):
        return Message(message)
    raise UsageError(f"a message is a str, a Message or an Answer, not {message!r}")


def behaviour(cls: type[Agent], method: str) -> Any:
    """Return the function of `cls` that answers `method`, or raise a `UsageError`.

    It is that of the name `method`, for one agent, or of the name with ``_block`` after it, for a
    block of them: whichever the class or the nearest of its bases defines; of both, the second.
    """
    function = _nearest(cls, method)[1]
    if method.startswith("_") or not inspect.isfunction(function):
        known = sorted(
            name
            for name in dir(cls)
            if not name.startswith("_") and inspect.isfunction(getattr(cls, name))
        )
        known = [name for name in known if name not in _OWN]
        raise UsageError(
            f"{cls.__name__} has no method {method!r}"
            + (f" (it has {', '.join(known)})" if known else "")
            + f"; write one: def {method}(self, message)"
        )
    return function


def waits(cls: type[Agent]) -> bool:
    """Return whether the agents of a class wait for something when they reply."""
    return inspect.iscoroutinefunction(_nearest(cls, "reply")[1])


def for_blocks(cls: type[Agent], method: str) -> bool:
    """Return whether what answers `method` does so for whole blocks."""
    return _nearest(cls, method)[0] != method


def _nearest(cls: type[Agent], method: str) -> tuple[str, Any]:
    """Return what the class, or the nearest of its bases, calls `method`, alone or for blocks."""
    names = (f"{method}_block", method)
    found = (
        (name, vars(base)[name]) for base in cls.__mro__ for name in names if name in vars(base)
    )
    return next(found, (method, None))


def unknown_field(cls: type[Agent], name: str) -> str:
    """Say that `name` is no field of `cls`, and which there are."""
    known = ", ".join(field for field in cls.__fields__ if not field.startswith("_"))
    return (
        f"{cls.__name__} has no field {name!r}; "
        + (f"its fields are {known}; " if known else "it declares none; ")
        + f"declare it in the class as `{name}: float = 0.0`, with the type that you mean"
    )


def _own_fields(cls: type[Any], inherited: Mapping[str, Field]) -> dict[str, Field]:
    """Make the fields that the body of `cls` itself declares, or gives another default."""
    found, body, annotations = {}, vars(cls), own_annotations(cls)
    for name, annotation in annotations.items():
        if typing.get_origin(annotation) is ClassVar or annotation is ClassVar:
            continue
        if name in ("memory_limit", "inbox_limit"):
            raise FieldError(f"{cls.__name__}: write `{name} = 20`, without an annotation")
        if name in RESERVED or name.startswith("_"):
            raise FieldError(f"{cls.__name__}.{name}: this name is reserved; choose another")
        found[name] = make_field(cls.__name__, name, annotation, body.get(name, MISSING))
    for name, value in body.items():
        if name in annotations or name.startswith("__"):
            continue
        if name in inherited:
            found[name] = make_field(cls.__name__, name, inherited[name].type, value)
        elif isinstance(value, _MUTABLE):
            raise FieldError(
                f"{cls.__name__}.{name}: all agents of a process would share this"
                f" {type(value).__name__}; declare a field of an immutable type, as"
                f" `{name}: tuple = ()`, or a constant, as `{name}: ClassVar = ...`"
            )
    return found


def _check_class(cls: type[Agent]) -> None:
    """Refuse a behaviour that no step can call, and what a row does not have."""
    if cls.__init__ is not Agent.__init__ or "__slots__" in vars(cls):
        raise UsageError(
            f"{cls.__name__} has an __init__ or __slots__, and a row of a table has neither;"
            " declare fields with defaults: `money: float = 100.0`"
        )
    for name in ("memory_limit", "inbox_limit"):
        limit = getattr(cls, name)
        if limit is not None and (type(limit) is not int or limit < 0):
            raise FieldError(f"{cls.__name__}.{name} is {limit!r}; give a number or None")
    for name in dir(cls):
        function = getattr(cls, name, None)
        if name != "reply" and not (name.endswith("_block") and inspect.isfunction(function)):
            continue
        if name != "reply" and inspect.iscoroutinefunction(function):
            raise UsageError(
                f"{cls.__name__}.{name} is an `async def`, and a block waits for nobody; write"
                f" `async def {name.removesuffix('_block')}` for agents that wait"
            )
        if not inspect.isfunction(function) or len(inspect.signature(function).parameters) != 2:
            raise UsageError(
                f"{cls.__name__}.{name} must be a method of two arguments:"
                f" def {name}(self, message)"
            )


_NOBODY = np.zeros(1, np.int64)

# The memory is a field like any other, kept as (content, role, name) and read through `memory`.
Agent.__own_fields__ = {"_turns": make_field("Agent", "_turns", tuple, ())}
Agent.__fields__ = Agent.__own_fields__
