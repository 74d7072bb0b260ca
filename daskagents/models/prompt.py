"""The order of a prompt, such that servers can keep what prompts begin with."""

from __future__ import annotations

from collections.abc import Sequence

from daskagents.errors import UsageError
from daskagents.message import Message

#: Between two texts that become one message.
_BREAK = "\n\n"


def prompt(turns: Sequence[Message], shared: str, own: str = "") -> tuple[Message, ...]:
    r"""Return a conversation with what its model is told, in the order that servers keep best.

    A server computes a prompt only from where it differs from one that it has kept. So what all
    agents share comes first; then what all of them heard, until an agent first answers; then what
    is the agent's own; then the rest of the conversation, which no other agent has. In this order
    agents share as much as they can, and the prompt of an agent's next turn begins with all of its
    last one.

    Parameters
    ----------
    turns
        The conversation.
    shared
        What all agents are told.
    own
        What only this agent is told.

    Examples
    --------
    >>> said = Message("How much?"), Message("50", "assistant"), Message("And now?")
    >>> [turn.text for turn in prompt(said, "You play.", "You are bold.")]
    ['You play.', 'How much?', 'You are bold.', '50', 'And now?']
    >>> [turn.text for turn in prompt(said[1:], "You play.", "You are bold.")]
    ['You play.\n\nYou are bold.', '50', 'And now?']
    """
    heard = next((at for at, turn in enumerate(turns) if turn.role == "assistant"), len(turns))
    if not heard:  # there is nothing between them
        shared, own = _BREAK.join(filter(None, (shared, own))), ""
    first = (Message(shared, "system"),) if shared else ()
    last = (Message(own, "system"),) if own else ()
    return (*first, *turns[:heard], *last, *turns[heard:])


def parts(system: str | tuple[str, str]) -> tuple[str, str]:
    """Return what all agents are told and what one is, from what was given as ``system=``."""
    if isinstance(system, str):
        return system, ""
    match system:
        case [str(shared), str(own)]:
            return shared, own
    raise UsageError(f"system={system!r}: give a text, or two: (shared by all, the agent's own)")
