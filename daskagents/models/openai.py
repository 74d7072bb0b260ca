"""Models behind an endpoint that speaks the OpenAI interface: vLLM, llama.cpp, a vendor."""

from __future__ import annotations

import math
import os
import re
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import msgspec

from daskagents import loop
from daskagents.errors import AnswerError, ModelError, UsageError
from daskagents.models import schema
from daskagents.models.base import Answer, Model, Request
from daskagents.models.endpoint import OPENAI_URL, Endpoint, Secret
from daskagents.models.grammar import grammar
from daskagents.usage import Usage

#: What is not for the caller to choose.
_RESERVED = ("messages", "stream", "n")


class OpenAI(Model):
    """A model behind an endpoint that speaks the OpenAI interface.

    A value that holds no connection: the workers get a copy each and make their own connections,
    as many as there are agents waiting and files that a process may open (``ulimit -n``).

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
        Seconds to wait for a connection, and again for an answer.
    retries
        Further tries of a request that failed in a way that may pass: status 408, 409, 429 or
        from 500 up, no connection, no answer in time. Pauses double and heed Retry-After.
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

    def __init__(
        self,
        model: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 3,
        grammar: bool = False,
        **sampling: Any,
    ) -> None:
        self.model = model
        self.base_url = _checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
        self.timeout = timeout
        self.retries = retries
        self.grammar = grammar
        self.sampling = _checked_sampling(sampling)
        self._key = None if api_key is None else Secret(api_key)
        if not timeout > 0 or retries < 0:
            raise UsageError(
                f"timeout={timeout}, retries={retries}: give numbers above 0, 0 or more"
            )

    def __repr__(self) -> str:
        """Return what it was made with, but for the key."""
        given = {
            "base_url": self.base_url,
            **({"api_key": "***"} if self._key else {}),
            **({"grammar": True} if self.grammar else {}),
            **self.sampling,
        }
        return f"OpenAI({self.model!r}, {', '.join(f'{k}={v!r}' for k, v in given.items())})"

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
        """Ask the endpoint; once more if what it answers cannot be used.

        Raises
        ------
        EndpointError
            If it cannot be reached, or refuses the request.
        AnswerError
            If its answer is no text, or does not fit the schema.
        """
        endpoint = self._endpoint()
        body = self._body(request, self.model or await endpoint.first_model())
        prompt = answered = 0
        problem = ""
        for calls in (1, 2):
            try:
                raw = await endpoint.post("/chat/completions", body, self.retries)
            except ModelError as error:
                _spent(error, calls - 1, prompt, answered)
                raise
            try:
                completion = _read(raw)
                prompt += completion.usage.prompt_tokens if completion.usage else 0
                answered += completion.usage.completion_tokens if completion.usage else 0
                text = completion.text
                value = None if request.schema is None else schema.read(text, request.schema)
            except AnswerError as error:
                problem = str(error)
                continue
            found = Answer(text, value, prompt, answered, completion.model, calls)
            return msgspec.structs.replace(found, endpoint=self.base_url)
        failure = AnswerError(f"{self.base_url}: {endpoint.redact(problem)}")
        raise _spent(failure, 2, prompt, answered)

    def _endpoint(self) -> Endpoint:
        """Return the connections of this loop to the endpoint."""
        key = (OpenAI, self.base_url, self._key, self.timeout)
        return loop.resource(key, lambda: Endpoint(self.base_url, self._key, self.timeout))

    def _body(self, request: Request, model: str) -> bytes:
        """Return the JSON of a request."""
        said = [{"role": turn.role, "content": turn.text} for turn in request.messages]
        body = {"model": model, "messages": said, **self.sampling}
        if request.sampling:
            body.update(_checked_sampling(request.sampling))
        if request.schema is not None:
            body.update(_form(request.schema, self.grammar))  # type: ignore[arg-type]
        return msgspec.json.encode(body)


def _spent(error: ModelError, calls: int, prompt: int, completion: int) -> ModelError:
    """Note with an error what had been answered, and is to be paid, before it."""
    error.usage = Usage(calls, prompt, completion, cost=math.nan if calls else 0.0)
    return error


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(msgspec.Struct):
    """The parts of a chat completion that are read."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    model: str = ""

    @property
    def text(self) -> str:
        """The text of the answer."""
        if not self.choices:
            raise AnswerError("the answer has no choices")
        choice = self.choices[0]
        if choice.message.content is None:
            why = choice.message.refusal or f"finish_reason is {choice.finish_reason}"
            raise AnswerError(f"the answer has no text: {schema.shorten(why)}")
        return choice.message.content


_decoder = msgspec.json.Decoder(_Completion)


def _read(raw: bytes) -> _Completion:
    """Read the body of an answer."""
    try:
        return _decoder.decode(raw)
    except msgspec.DecodeError as error:
        shown = schema.shorten(raw.decode(errors="replace"))
        raise AnswerError(f"the answer is no chat completion: {error}; got {shown!r}") from None


@lru_cache(256)
def _form(cls: type[Any], as_grammar: bool) -> dict[str, Any]:
    """Return what asks an endpoint for a schema."""
    if as_grammar:
        return {"grammar": grammar(cls)}
    named = {
        "name": re.sub(r"[^a-zA-Z0-9_-]", "_", cls.__name__)[:64],
        "strict": True,
        "schema": schema.json_schema(cls),
    }
    # Encoded once: it is longer than most requests.
    return {
        "response_format": msgspec.Raw(
            msgspec.json.encode({"type": "json_schema", "json_schema": named})
        )
    }


def _checked_sampling(sampling: dict[str, Any]) -> dict[str, Any]:
    """Return sampling parameters, with those of ``extra_body`` among them, or refuse them."""
    own = {name: value for name, value in sampling.items() if name != "extra_body"}
    merged = {**sampling.get("extra_body", {}), **own}
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
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise UsageError(f"base_url={url!r}: give a URL such as 'http://127.0.0.1:8000/v1'")
    return url.rstrip("/")
