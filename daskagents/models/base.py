"""The one interface of all that answers a chat: a request goes in, an answer comes out."""

from __future__ import annotations

import asyncio
import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from daskagents.errors import ModelError, UsageError
from daskagents.message import Message
from daskagents.rng import Rng
from daskagents.usage import NAMES, Usage

#: What belongs to a model and not to one request, which would be sent to the endpoint in its body.
NO_SAMPLING = frozenset(
    "api_key base_url timeout http_client extra_headers default_headers headers extra_query"
    " default_query".split()
)


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
    others
        The random numbers of the further agents that this request stands for.
    extract
        Whether to ask for free text first, and then for what the schema wants of it.
    choices
        Options, of which the answer is one, and whose probabilities are wanted; the schema is
        then a Literal of them.

    Raises
    ------
    UsageError
        If `extract` has no schema, or `choices` has another, repeats itself, or holds less than
        two options or other things than texts and whole numbers; or if `sampling` holds what is
        no parameter of a request.

    Examples
    --------
    >>> Request((Message("Tea?"),), choices=("yes", "no")).schema
    typing.Literal['yes', 'no']
    """

    messages: tuple[Message, ...]
    schema: Any = None
    sampling: dict[str, Any] = {}  # msgspec copies an empty default
    rng: Rng | None = None
    keeper: Keeper | None = None
    others: tuple[Rng | None, ...] = ()
    extract: bool = False
    choices: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        if self.choices:
            wanted = _literal(self.choices)
            if self.schema is None:
                msgspec.structs.force_setattr(self, "schema", wanted)
            elif self.schema != wanted:
                raise UsageError("give schema= or choices=, not both: choices are a schema")
        if self.extract and self.schema is None:
            raise UsageError("extract=True needs a schema= to extract into")
        if self.sampling:
            check_sampling(self.sampling)

    def each(self, n: int) -> list[Request]:
        """Return the requests of the single agents that this one stands for, `n` in all."""
        return [self.part([place]) for place in range(n)] if self.others else [self] * n

    def part(self, places: Sequence[int]) -> Request:
        """Return the request of some of the agents that this one stands for."""
        if not self.others:
            return self
        named = dict(enumerate([self.rng, *self.others]))
        rng, *others = (named.get(place, self.rng) for place in places)
        return msgspec.structs.replace(self, rng=rng, others=tuple(others))


def check_sampling(names: Iterable[str]) -> None:
    """Raise a `UsageError` if a parameter belongs to a model, as a key does; never with its value.

    Examples
    --------
    >>> check_sampling({"extra_headers": {"X-Key": "secret"}})
    Traceback (most recent call last):
    daskagents.errors.UsageError: extra_headers= is no parameter of a request, ...
    """
    for name in names:
        if name in NO_SAMPLING:
            raise UsageError(
                f"{name}= is no parameter of a request, in which it would be sent and written down;"
                " give address, key and time-outs to OpenAI(...); other headers cannot be given"
            )


def _literal(choices: tuple[str | int, ...]) -> Any:
    """Return options as a type."""
    fit = all(type(option) in (str, int) and option != "" for option in choices)
    if not fit or len(choices) < 2 or len(set(choices)) < len(choices):
        raise UsageError(
            f"choices={list(choices)!r}: give two or more different texts or whole numbers"
        )
    return Literal[choices]


class Journal(Protocol):
    """Keeps the answers that the agents of a block get in a step."""

    async def chat(self, model: Model, request: Request, agent: int) -> tuple[Answer, bool]:
        """Return the answer that was kept, or the model's, and whether it is of this run."""


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
        What the model thought aloud, where that is kept apart from what it said.
    how
        How the value was come by: ``"schema"`` (a JSON schema), ``"grammar"``, ``"extract"`` (from
        free text, by a second call), ``"repair"`` (the model was shown its error); empty without.
    probabilities
        Of the options of the request's ``choices``, where the endpoint tells; else None.
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
    how: str = ""
    probabilities: dict[str | int, float] | None = None

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

    Attributes
    ----------
    remote
        Whether it asks over a network; `stack` then tries again what may pass, and keeps to what
        can be taken at a time.
    repeats
        Whether it answers the same again to the same agent at the same point of a run, so that a
        run that nobody can resume need not write its answers down.
    """

    remote: ClassVar[bool] = False
    repeats: ClassVar[bool] = False

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
        asked = [self.chat(one) for one in request.each(n)]
        return sound(await asyncio.gather(*asked, return_exceptions=True))

    def of(self, agent: Any) -> Model:
        """Return the model that this one is to an agent: itself, unless it differs among them."""
        return self

    def inside(self, change: Callable[[Model], Model]) -> Model:
        """Return this model with those that it is put around changed; itself if there are none."""
        return self

    async def check(self) -> None:
        """Raise an `EndpointError` if this model cannot answer at all; asked once before a run."""


def sound(answers: list[Answer | BaseException]) -> list[Answer | ModelError]:
    """Return answers and the model's errors among them; raise what else went wrong.

    Raises
    ------
    ModelError
        If all are errors: of those that may pass, the one that is to be waited for longest; with
        the usage of all.
    """
    kept: list[Answer | ModelError] = []
    for answer in answers:
        if not isinstance(answer, Answer | ModelError):
            raise answer
        kept.append(answer)
    errors = [answer for answer in kept if isinstance(answer, ModelError)]
    if errors and len(errors) == len(kept):
        told = max(errors, key=lambda error: (error.passing, error.wait))
        told.usage = sum((error.usage for error in errors), Usage())
        raise told
    return kept


def alike(error: ModelError, usage: Usage) -> ModelError:
    """Return the same error for somebody else, with another usage."""
    # not copy.copy: once Dask has sent an error of this class, tblib makes copies that share a dict
    try:
        other = type(error).__new__(type(error), *error.args)
    except TypeError:  # a user's own error, made from something else than its text
        other = ModelError()
    other.args = error.args
    other.__dict__.update(error.__dict__)
    other.usage = usage
    return other


@dataclass(frozen=True)
class Wrapper(Model):
    """A model that does something around each chat of another; the base of all wrappers.

    Parameters
    ----------
    inner
        The model that is asked.

    Raises
    ------
    UsageError
        If it is no model, or one that cannot be hashed.

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

    def __post_init__(self) -> None:
        check_model(self.inner, type(self).__name__)

    async def chat(self, request: Request) -> Answer:
        """Ask the inner model."""
        return await self.inner.chat(request)

    async def chat_many(self, request: Request, n: int) -> list[Answer | ModelError]:
        """Ask the inner model for many answers at once, unless `chat` alone says what is done."""
        if type(self).chat is not Wrapper.chat:
            return await super().chat_many(request, n)
        return await self.inner.chat_many(request, n)

    def of(self, agent: Any) -> Model:
        """Return this wrapper around the model that the inner one is to an agent."""
        inner = self.inner.of(agent)
        return self if inner is self.inner else self.inside(lambda _: inner)

    def inside(self, change: Callable[[Model], Model]) -> Model:
        """Return this wrapper around what the inner model is changed to."""
        inner = change(self.inner)
        if inner is self.inner:
            return self
        other = copy.copy(self)
        object.__setattr__(other, "inner", inner)
        return other

    async def check(self) -> None:
        """Raise an `EndpointError` if the inner model cannot answer at all."""
        await self.inner.check()


def check_model(model: object, where: str) -> None:
    """Raise a `UsageError` if something cannot be a model within another."""
    if not isinstance(model, Model):
        raise UsageError(f"{where} is put around a model, not a {type(model).__name__}")
    try:
        hash(model)
    except TypeError:
        raise UsageError(
            f"{where} is put around a {type(model).__name__}, which cannot be hashed; models are"
            " values that do not change: write @dataclass(frozen=True) above its class"
        ) from None
