"""Models behind an endpoint that speaks the OpenAI interface: vLLM, llama.cpp, a vendor."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import msgspec

from daskagents import loop
from daskagents.errors import AnswerError, EndpointError, ModelError, UsageError
from daskagents.models import completion
from daskagents.models.base import Answer, Model, Request, check_sampling, sound
from daskagents.models.describe import SECRET
from daskagents.models.endpoint import OPENAI_URL, Endpoint, Patience, Secret
from daskagents.models.kinds import kind_of
from daskagents.models.odds import odds
from daskagents.models.prices import Price, cost_of, is_free
from daskagents.models.quirks import REFUSALS, Quirks
from daskagents.models.structure import Structure, form, opening
from daskagents.usage import Usage

#: What is not for the caller to choose.
_RESERVED = ("messages", "stream", "n")
#: Tokens in one place to be told the probability of: the most that vendors tell, and llama.cpp,
#: which knows no bound.
_TOLD, _TOLD_BY_LLAMA = 20, 100
#: Server errors in a row after which many answers at once are thought to be the reason.
_STRIKES = 6
#: How an endpoint names what asks for a schema.
_ABOUT_SCHEMAS = re.compile(r"response_format|schema|grammar|guided|structured", re.IGNORECASE)


class OpenAI(Model):
    """A model behind an endpoint that speaks the OpenAI interface.

    A value that holds no connection: the workers get a copy each and make their own connections,
    as many as there are agents waiting and files that a process may open (``ulimit -n``). It sends
    each request once; `Retry` around it tries again.

    Parameters
    ----------
    model
        The model's name; None takes the first that the endpoint lists.
    base_url
        Where the interface begins, such as ``"http://127.0.0.1:8000/v1"``. None: OPENAI_BASE_URL,
        or else OpenAI's own.
    api_key
        The key, which is never shown or stored. None (better, on a cluster): each worker reads
        its OPENAI_API_KEY.
    timeout
        Seconds that a whole call may take, once there is a free connection for it.
    connect_timeout
        Seconds to wait for a connection.
    first_byte_timeout
        Seconds in which nothing need come: until the answer begins, which for most endpoints is
        when it is complete, and between its parts.
    retries
        How often a run tries again what may pass, by the `Retry` that it puts around this model.
    coalesce
        Whether a run makes one request of many that are the same, by a `Coalesce`.
    price
        What it costs; None: what the table of the package says. An endpoint on this machine costs
        nothing unless a price is given.
    grammar
        Whether schemas are sent as llama.cpp grammars and not as JSON schemas.
    **sampling
        Whatever else goes into the request: ``temperature``, ``max_tokens``, ``top_p``, or what
        this endpoint alone knows. `chat` can override it.

    Raises
    ------
    UsageError
        If an argument is none of these.

    Examples
    --------
    >>> OpenAI("llama", base_url="http://127.0.0.1:8000/v1", api_key="sk-secret", temperature=1.0)
    OpenAI('llama', base_url='http://127.0.0.1:8000/v1', api_key='***', temperature=1.0)
    """

    remote = True

    def __init__(
        self,
        model: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 600.0,
        connect_timeout: float = 10.0,
        first_byte_timeout: float = 120.0,
        retries: int = 31,
        coalesce: bool = False,
        price: Price | None = None,
        grammar: bool = False,
        **sampling: Any,
    ) -> None:
        self.model = model
        self.base_url = _checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
        self.patience = Patience(connect_timeout, first_byte_timeout, timeout)
        self.retries, self.coalesce, self.price = retries, coalesce, price
        self.grammar = grammar
        self.sampling = _checked_sampling(sampling)
        self._key = None if api_key is None else Secret(api_key)
        if not all(seconds > 0 for seconds in self.patience):
            raise UsageError(f"{self.patience}: time-outs are seconds above 0")
        if retries < 0:
            raise UsageError(f"retries={retries}: give 0 or more")
        if price is not None and not isinstance(price, Price):
            raise UsageError(f"price={price!r}: give a Price, as Price(prompt=2.5, completion=10)")

    def __repr__(self) -> str:
        """Return what it was made with, but for the key."""
        given = {
            "base_url": self.base_url,
            **({"api_key": "***"} if self._key else {}),
            **({"grammar": True} if self.grammar else {}),
            **({"coalesce": True} if self.coalesce else {}),
            **({"price": self.price} if self.price else {}),
            **self.sampling,
        }
        return f"OpenAI({self.model!r}, {', '.join(f'{k}={v!r}' for k, v in given.items())})"

    def made_with(self) -> dict[str, Any]:
        """Return the arguments that make an equal one, but for the key."""
        connect, first, whole = self.patience
        return {
            "model": self.model,
            "base_url": self.base_url,
            "timeout": whole,
            "connect_timeout": connect,
            "first_byte_timeout": first,
            "retries": self.retries,
            "coalesce": self.coalesce,
            "price": self.price,
            "grammar": self.grammar,
            **self.sampling,
        }

    def __eq__(self, other: object) -> bool:
        """Tell whether another asks the same endpoint in the same way."""
        return isinstance(other, OpenAI) and vars(self) == vars(other)

    def __hash__(self) -> int:
        """Return a hash of what models mostly differ in."""
        return hash((self.model, self.base_url, self.grammar))

    async def check(self) -> None:
        """Ask the endpoint for its models, so that what is wrong is known before agents start.

        Raises
        ------
        EndpointError
            If it cannot be reached, refuses the key, or names no model where none was given.
        """
        endpoint = self._endpoint()
        await endpoint.check()
        if self.model is None:
            await endpoint.first_model()

    async def chat(self, request: Request) -> Answer:
        """Ask the endpoint; what does not fit the schema is shown to the model once, with why.

        Raises
        ------
        EndpointError
            If it cannot be reached, or refuses the request.
        AnswerError
            If its answer is no text, or does not fit the schema.
        """
        if request.schema is None:
            return await self._one(request)
        return await self._structure().ask(request)

    async def chat_many(self, request: Request, n: int) -> list[Answer | ModelError]:
        """Ask the endpoint for `n` answers at once; one by one if it gives only one."""
        found: list[Answer | ModelError] = []
        quirks = await self._quirks()
        if n > 1 and not quirks.alone:
            try:
                found += await self._answers(opening(request), n)
            except EndpointError as error:
                if error.status not in REFUSALS:
                    raise
                quirks.strikes += 1
                if error.passing and quirks.strikes < _STRIKES:
                    raise
                # What is wrong with the request itself is told by this one.
                found.append(await self._one(opening(request)))
            else:
                quirks.strikes = 0
            if len(found) < n:
                quirks.alone = True
                quirks.say("gives one answer to a request: many (n=) are asked for one by one")
        if request.schema is not None:
            found = await self._structure().finish_all(request, found)
        rest = [self.chat(one) for one in request.each(n)[len(found) :]]
        return sound([*found, *await asyncio.gather(*rest, return_exceptions=True)])

    def _structure(self) -> Structure:
        """Return how this endpoint is asked for answers of a given structure."""
        return Structure(self._one, "grammar" if self.grammar else "schema", self._tell)

    def _endpoint(self) -> Endpoint:
        """Return the connections of this loop to the endpoint."""
        key = (OpenAI, self.base_url, self._key, self.patience)
        return loop.resource(key, lambda: Endpoint(self.base_url, self._key, self.patience))

    async def _quirks(self) -> Quirks:
        """Return what the endpoint was found not to take."""
        endpoint = self._endpoint()
        return endpoint.quirks(self.model or await endpoint.first_model())

    def _tell(self, problem: str) -> str:
        """Return a problem with an answer as it may be shown."""
        return f"{self.base_url}: {self._endpoint().redact(problem)}"

    async def _one(self, request: Request) -> Answer:
        """Return the one answer to a request, without its value."""
        (answer, *_) = await self._answers(request, 1)
        if isinstance(answer, ModelError):
            raise answer
        return answer

    async def _answers(self, request: Request, n: int) -> list[Answer | ModelError]:
        """Send a request, anew if the endpoint does not take something that can be spared."""
        endpoint = self._endpoint()
        model = self.model or await endpoint.first_model()
        quirks, refused = endpoint.quirks(model), 0
        while True:
            body = quirks.adapt(self._body(request, model, n))
            try:
                raw = await endpoint.post("/chat/completions", msgspec.json.encode(body))
                return self._read(raw, request, quirks, refused)
            except EndpointError as error:
                if not quirks.learn(error, body):
                    raise _cured(error, request, refused) from None
                refused += 1

    def _read(
        self, raw: bytes, request: Request, quirks: Quirks, refused: int
    ) -> list[Answer | ModelError]:
        """Return the answers in the body of a response."""
        try:
            read = completion.read(raw)
        except AnswerError as error:
            raise self._told(error, refused) from None
        found: list[Answer | ModelError] = []
        answers = completion.answers(read, self.base_url)
        for choice, answer in zip(read.choices, answers, strict=True):
            if isinstance(answer, AnswerError):
                found.append(self._told(answer, refused))
            else:
                likely = _likely(request, choice, quirks)
                found.append(
                    msgspec.structs.replace(
                        answer, cost=self._cost(answer), probabilities=likely, retries=refused
                    )
                )
            refused = 0
        return found

    def _told(self, error: AnswerError, refused: int) -> AnswerError:
        """Return the error of an answer with where it is from, and without the key."""
        error.args = (self._tell(str(error)),)
        cost = self._cost(error.usage) if error.usage.calls else 0.0
        error.usage = replace(error.usage, retries=error.usage.retries + refused, cost=cost)
        return error

    def _cost(self, took: Usage | Answer) -> float:
        """Return what was taken, in the currency of the prices."""
        if self.price is None and is_free(self.base_url):
            return 0.0
        name = self.model or (took.model if isinstance(took, Answer) else "")
        return cost_of(name, took, self.price)

    def _body(self, request: Request, model: str, n: int) -> dict[str, Any]:
        """Return what is sent for a request."""
        said = [{"role": turn.role, "content": turn.text} for turn in request.messages]
        body = {"model": model, "messages": said, **self.sampling}
        if request.choices:
            body.update(logprobs=True, top_logprobs=_TOLD_BY_LLAMA if self.grammar else _TOLD)
        if request.sampling:
            body.update(_checked_sampling(request.sampling))
        if request.schema is not None:
            body.update(form(request.schema, self.grammar))
        if n > 1:
            body["n"] = n
        return body


def _likely(
    request: Request, choice: completion.Choice, quirks: Quirks
) -> dict[str | int, float] | None:
    """Return how probable the options of a request were, where the endpoint tells."""
    if not request.choices:
        return None
    if not choice.tokens:
        quirks.say("tells no probabilities of tokens (logprobs): choices= come without them")
        return None
    found = odds(request.choices, choice.tokens)
    if found is None:
        quirks.say(
            "gave an answer to choices= whose probabilities are not known: let the options differ"
            " in their first letters, and name them in the prompt"
        )
    return found


def _cured(error: EndpointError, request: Request, refused: int) -> EndpointError:
    """Return the refusal of a request, with what to do where its schema is at fault."""
    error.usage += Usage(retries=refused)
    if request.schema is None or error.status not in REFUSALS or error.passing:
        return error
    if _ABOUT_SCHEMAS.search(str(error)):
        name = kind_of(request.schema).name
        error.args = (
            f"{error}; this endpoint does not take schema={name} as it is sent: change the type,"
            " or how it is sent (OpenAI(grammar=...): a grammar for llama.cpp, else a JSON schema)",
        )
    return error


def _checked_sampling(sampling: dict[str, Any]) -> dict[str, Any]:
    """Return sampling parameters, with those of ``extra_body`` among them, or refuse them."""
    own = {name: value for name, value in sampling.items() if name != "extra_body"}
    merged = {**sampling.get("extra_body", {}), **own}
    check_sampling(merged)
    for name in _RESERVED:
        if name in merged:
            raise UsageError(f"{name}= is not for the caller to set; leave it out")
    try:
        msgspec.json.encode(merged)
    except (TypeError, ValueError) as error:
        raise UsageError(f"a parameter of the model cannot be sent as JSON: {error}") from None
    return merged


def _checked_url(url: str) -> str:
    """Return a base URL without a slash at its end, or refuse it."""
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise UsageError("base_url= holds a name or a password; pass api_key= instead")
    if parts.query:  # which may hold a key
        raise UsageError("base_url= has a query (?...); give it without, and pass api_key= instead")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = "..." if SECRET.search(url.encode()) else url
        raise UsageError(f"base_url={shown!r}: give a URL such as 'http://127.0.0.1:8000/v1'")
    return url.rstrip("/")
