"""The one interface of all that answers a chat: a request goes in, an answer comes out."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from daskagents.errors import ModelError
from daskagents.message import Message
from daskagents.rng import Rng
from daskagents.usage import NAMES, Usage


class Request(msgspec.Struct, frozen=True):
    """One chat as an agent asks it.

    Parameters
    ----------
    messages
        The conversation, the system message first where there is one.
    schema
        The type that the answer is to be read into; None for free text.
    sampling
        Parameters of this call alone, which override the model's own (``temperature``, ...).
    rng
        The agent's random numbers, for models that draw instead of asking.
    keeper
        Who keeps what all workers of the run share; None where nothing is shared.
    """

    messages: tuple[Message, ...]
    schema: type[Any] | None = None
    sampling: dict[str, Any] = {}  # msgspec copies an empty default
    rng: Rng | None = None
    keeper: Keeper | None = None


class Keeper(Protocol):
    """Keeps what all workers of a run share: how much may still be asked, and how fast."""

    async def ask(self, account: str, said: dict[str, Any]) -> dict[str, Any]:
        """Tell the keeper of an account something, of what msgpack knows; return its answer."""


class Answer(msgspec.Struct, frozen=True):
    """What a model answered.

    Parameters
    ----------
    text
        The answer as it came.
    value
        What was read from it by the request's schema; None without a schema.
    prompt_tokens, completion_tokens
        As the endpoint counted them; 0 where it does not say.
    model
        The model as the endpoint named it.
    calls
        How often the model was asked until it gave this answer.
    cached_tokens
        Of the prompt tokens, those that the endpoint had in its cache.
    retries
        How often it was asked in vain.
    cost
        In the currency of the prices; NaN, the default, where a price is not known.
    waited
        Seconds that passed before it was asked, or was asked again.
    endpoint
        Where it was asked, such as the base URL; empty where nobody was asked.
    reasoning
        What the model thought aloud, where the endpoint keeps that apart.
    """

    text: str
    value: Any = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""
    calls: int = 1
    cached_tokens: int = 0
    retries: int = 0
    cost: float = math.nan
    waited: float = 0.0
    endpoint: str = ""
    reasoning: str = ""

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and the completion together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def usage(self) -> Usage:
        """What this answer took."""
        return Usage(*(getattr(self, name) for name in NAMES))

    def after(self, spent: Usage) -> Answer:
        """Return this answer as one that took so much more."""
        whole = self.usage + spent
        return msgspec.structs.replace(self, **{name: getattr(whole, name) for name in NAMES})


class Model(ABC):
    """Whatever answers a chat.

    A model is a small value: it is sent to every worker once and holds no connection itself;
    what lives as long as a process (connection pools) is asked of `daskagents.loop.resource`.
    """

    @abstractmethod
    async def chat(self, request: Request) -> Answer:
        """Answer one request, or raise a `ModelError`."""

    async def chat_many(self, request: Request, n: int) -> list[Answer | ModelError]:
        """Answer one request `n` times, each time anew; by default by as many chats.

        Returns
        -------
        list of Answer or ModelError
            An error stands where the answer would, so that one that cannot be used spoils no
            other. What they took adds up: an answer that came along with others has no calls, and
            its share of their tokens.

        Raises
        ------
        ModelError
            If there is no answer at all.
        """
        asked = [self.chat(request) for _ in range(n)]
        return sound(await asyncio.gather(*asked, return_exceptions=True))

    async def check(self) -> None:
        """Raise an `EndpointError` if this model cannot answer at all; asked once before a run."""


def sound(answers: list[Answer | BaseException]) -> list[Answer | ModelError]:
    """Return answers and the model's errors among them; raise what else went wrong, or all did."""
    kept: list[Answer | ModelError] = []
    for answer in answers:
        if not isinstance(answer, Answer | ModelError):
            raise answer
        kept.append(answer)
    errors = [answer for answer in kept if isinstance(answer, ModelError)]
    if errors and len(errors) == len(kept):
        errors[0].usage = sum((error.usage for error in errors[1:]), errors[0].usage)
        raise errors[0]
    return kept


@dataclass(frozen=True)
class Wrapper(Model):
    """A model that does something around each chat of another; the base of all wrappers.

    Parameters
    ----------
    inner
        The model that is asked.

    Examples
    --------
    >>> import asyncio
    >>> from daskagents import Message, models
    >>> class Louder(Wrapper):
    ...     async def chat(self, request):
    ...         answer = await self.inner.chat(request)
    ...         return msgspec.structs.replace(answer, text=answer.text.upper())
    >>> asyncio.run(Louder(models.Dummy(answer="hello")).chat(Request((Message("Hi"),)))).text
    'HELLO'
    """

    inner: Model

    async def chat(self, request: Request) -> Answer:
        """Ask the inner model."""
        return await self.inner.chat(request)

    async def check(self) -> None:
        """Raise an `EndpointError` if the inner model cannot answer at all."""
        await self.inner.check()
