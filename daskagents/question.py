"""What agents are asked from outside, and how they answer it: in interviews and surveys."""

from __future__ import annotations

from dataclasses import asdict, dataclass, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskagents.agent import Agent
    from daskagents.message import Message

#: What all agents are told that are asked, before what each of them is.
SYSTEM = (
    "You take part in a simulation, as the person described below. Somebody from outside asks you"
    " a question. Answer it as this person would, in the first person and briefly."
)
#: Characters of a field's value that a model is told.
_LONG = 2_000


@dataclass(frozen=True)
class Question:
    """A question from outside the simulation.

    Parameters
    ----------
    text
        What is asked.
    schema
        What the answer is to be, as for `Agent.chat`.
    choices
        Options, of which the answer is one.
    shuffle
        Whether each agent is told the options in an order of its own.

    Examples
    --------
    >>> str(Question("Tea or coffee?", choices=("tea", "coffee")))
    'Tea or coffee?'
    """

    text: str
    schema: Any = None
    choices: tuple[str | int, ...] = ()
    shuffle: bool = False

    def __str__(self) -> str:
        return self.text

    def options(self, agent: Agent) -> tuple[str | int, ...]:
        """Return the options in the order that an agent is told them."""
        if not self.shuffle:
            return self.choices
        keys = [agent.rng.random() for _ in self.choices]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return tuple(self.choices[at] for at in order)


async def answer(agent: Agent, message: Message) -> Any:
    """Have an agent answer a question by its model: with its fields, its memory, and the options.

    Returns
    -------
    float, int, bool, str or dict
        The option or the value that was asked for, or the text of the answer; a dataclass as a
        dict of its fields.
    """
    asked = message.content if isinstance(message.content, Question) else Question(message.text)
    options = asked.options(agent)
    text = asked.text
    if options:
        text += "\nAnswer with one of these: " + "; ".join(map(str, options))
    said = await agent.chat(
        (*agent.memory, text),
        system=(SYSTEM, facts_of(agent)),
        schema=asked.schema,
        choices=options,
    )
    return said.text if asked.schema is None and not options else _plain(said.value)


def facts_of(agent: Agent) -> str:
    r"""Return what an agent has, field by field, as a model is told it.

    Examples
    --------
    >>> import daskagents as da
    >>> class Voter(da.Agent):
    ...     name: str = ""
    ...     age: int = 0
    >>> facts_of(Voter(name="Ann", age=41))
    'name: Ann\nage: 41'
    """
    lines = []
    for name in agent.__fields__:
        value = None if name.startswith("_") else getattr(agent, name)
        if value is not None and value != "":
            shown = value.name if isinstance(value, Enum) else str(value)
            lines.append(f"{name.replace('_', ' ')}: {shown[:_LONG]}")
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    """Return an answer as agents can reply it."""
    if isinstance(value, Enum):
        return value.name
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(inner) for name, inner in asdict(value).items()}
    return value
