"""What the server reads of a request."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec


class Said(msgspec.Struct):
    """One message of a conversation."""

    content: Any = ""

    @property
    def text(self) -> str:
        """What was said."""
        return self.content if type(self.content) is str else str(self.content)


@lru_cache(maxsize=4_096)  # what all agents are told is counted once
def _length(text: str) -> int:
    """Return how many words a text has."""
    return len(text.split())


class Chat(msgspec.Struct):
    """The parts of a request that change the answer."""

    messages: list[Said]
    model: str = ""
    n: int | None = None
    response_format: dict[str, Any] | None = None
    guided_json: dict[str, Any] | None = None
    guided_choice: list[str] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    reasoning_effort: str | None = None

    @property
    def words(self) -> list[str]:
        """The words of all messages: what the server takes for tokens."""
        return [word for said in self.messages for word in said.text.split()]

    @property
    def length(self) -> int:
        """How many words all messages have together."""
        return sum([_length(said.text) for said in self.messages])

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema of the answer; None for free text."""
        form = self.response_format or {}
        if form.get("type") == "json_schema":
            return form["json_schema"]["schema"]  # type: ignore[no-any-return]
        if form.get("type") == "json_object":
            return _ANY_OBJECT
        return self.guided_json

    @property
    def most(self) -> int | None:
        """The most tokens of an answer; None: no end."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def thinks(self) -> bool:
        """Whether the request asks the model to think aloud first."""
        return self.reasoning_effort not in (None, "none", "minimal")


_ANY_OBJECT = {"type": "object", "properties": {"number": {"type": "number"}}}

_decode = msgspec.json.Decoder(Chat).decode


def read(
    body: bytes, most: int, refuse: tuple[str, ...] = (), ignore: tuple[str, ...] = ()
) -> Chat:
    """Read a request.

    Parameters
    ----------
    body
        The JSON.
    most
        The most choices that may be asked for.
    refuse
        Parameters that are refused, unless they say what would be so without them (1, or null).
    ignore
        Parameters that are taken for absent.

    Raises
    ------
    ValueError
        If it is none, or asks for what is not to be had; of a message, a parameter and a code.
    """
    try:
        if refuse or ignore:
            body = _strip(body, refuse, ignore)
        chat = _decode(body)
    except msgspec.DecodeError as error:
        raise ValueError(f"cannot read the request: {error}") from None
    if chat.n is not None and not 1 <= chat.n <= most:
        raise ValueError(f"n={chat.n} is not from 1 to {most}", "n", "invalid_value")
    return chat


def _strip(body: bytes, refuse: tuple[str, ...], ignore: tuple[str, ...]) -> bytes:
    """Return the body without what is ignored."""
    given = msgspec.json.decode(body, type=dict[str, Any])
    for name in refuse:
        if given.get(name) is not None and (given[name] is True or given[name] != 1):
            said = f"Unsupported parameter: '{name}' is not supported with this model."
            raise ValueError(said, name, "unsupported_parameter")
    return msgspec.json.encode({k: v for k, v in given.items() if k not in ignore})
