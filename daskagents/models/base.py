"""The one interface of all that answers a chat: a request goes in, an answer comes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import msgspec

from daskagents.message import Message
from daskagents.rng import Rng


class Request(msgspec.Struct, frozen=True):
    """One chat as an agent asks it.

    Parameters
    ----------
    messages
        The conversation, the system message first where there is one.
    schema
        The frozen dataclass that the answer is to be read into; None for free text.
    sampling
        Parameters of this call alone, which override the model's own (``temperature``, ...).
    rng
        The agent's random numbers, for models that draw instead of asking.
    """

    messages: tuple[Message, ...]
    schema: type[Any] | None = None
    sampling: dict[str, Any] = {}  # msgspec copies an empty default
    rng: Rng | None = None


class Answer(msgspec.Struct, frozen=True):
    """What a model answered.

    Parameters
    ----------
    text
        The answer as it came.
    value
        The instance of the request's schema that was read from it; None without a schema.
    prompt_tokens, completion_tokens
        As the endpoint counted them; 0 where it does not say.
    model
        The model as the endpoint named it.
    calls
        How often the model was asked until it gave this answer.
    """

    text: str
    value: Any = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""
    calls: int = 1

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and the completion together."""
        return self.prompt_tokens + self.completion_tokens


class Model(ABC):
    """Whatever answers a chat.

    A model is a small value: it is sent to every worker once and holds no connection itself;
    what lives as long as a process (connection pools) is asked of `daskagents.loop.resource`.
    """

    @abstractmethod
    async def chat(self, request: Request) -> Answer:
        """Answer one request, or raise a `ModelError`."""

    async def check(self) -> None:
        """Raise an `EndpointError` if this model cannot answer at all; asked once before a run."""
