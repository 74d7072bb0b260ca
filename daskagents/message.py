"""What agents hear, say and remember."""

from __future__ import annotations

from typing import Any

import msgspec


class Message(msgspec.Struct, frozen=True):
    """Something said, by an agent, the workflow or a model.

    Parameters
    ----------
    content
        A number, bool, str, bytes, None, tuple or frozen dataclass.
    role
        Who speaks, in the words of a chat: ``"user"`` (the default), ``"assistant"`` or
        ``"system"``.
    name
        The name of the agent that said it, where it has one.

    Examples
    --------
    >>> Message("Report your number.").role
    'user'
    """

    content: Any = None
    role: str = "user"
    name: str = ""

    @property
    def text(self) -> str:
        """The content as a model reads it: a str as it is, None as the empty string."""
        return "" if self.content is None else str(self.content)
