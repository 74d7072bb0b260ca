"""The body of an answer in the OpenAI interface, as far as it is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from daskagents.errors import AnswerError, BrokenError, EmptyError, RefusalError
from daskagents.models.base import Answer
from daskagents.models.odds import Token
from daskagents.models.text import shorten, without_thought
from daskagents.usage import Usage

#: Why an answer ended that has no text, and would have none if it were asked for again.
_FINAL = frozenset({"length", "tool_calls", "function_call"})


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    # Not all endpoints give these as texts.
    reasoning_content: Any = None
    reasoning: Any = None


class _Logprobs(msgspec.Struct):
    content: list[Token] | None = None


class Choice(msgspec.Struct):
    """One of the answers in a completion."""

    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None

    @property
    def tokens(self) -> list[Token]:
        """What the endpoint tells of the probability of each token; nothing if it does not."""
        return (self.logprobs and self.logprobs.content) or []


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None


class Completion(msgspec.Struct):
    """One chat completion: its choices, and what they took together."""

    choices: list[Choice] = []
    usage: _Usage | None = None
    model: str | None = None
    error: Any = None

    @property
    def counts(self) -> tuple[int, int, int]:
        """Tokens of the prompt, of the answers, and of the prompt in the cache."""
        used = self.usage
        if used is None:
            return 0, 0, 0
        details = used.prompt_tokens_details
        cached = details.cached_tokens if details else 0
        return used.prompt_tokens or 0, used.completion_tokens or 0, cached or 0


_decoder = msgspec.json.Decoder(Completion)


def read(raw: bytes) -> Completion:
    """Read the body of an answer.

    Raises
    ------
    BrokenError
        If it is no chat completion.
    EmptyError
        If it has no choices.

    Examples
    --------
    >>> read(b'{"choices": [{"message": {"content": "Hi."}}]}').choices[0].message.content
    'Hi.'
    """
    try:
        found = _decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError) as problem:
        shown = shorten(raw.decode(errors="replace"))
        cure = "; is base_url= right? it mostly ends in /v1" if raw.lstrip()[:1] == b"<" else ""
        broken = BrokenError(f"the answer is no chat completion: {problem}; got {shown!r}{cure}")
    else:
        if found.choices:
            return found
        why = f": {shorten(msgspec.json.encode(found.error).decode())}" if found.error else ""
        raise _taking(EmptyError(f"the answer has no choices{why}"), *found.counts)
    raise broken


def answers(completion: Completion, endpoint: str) -> list[Answer | AnswerError]:
    """Return the choices of a completion as answers, which share what it took.

    Parameters
    ----------
    completion
        With one choice at least.
    endpoint
        Who was asked.
    """
    choices = completion.choices
    if len(choices) == 1:
        return [_answer(choices[0], completion, endpoint, 1, *completion.counts)]
    shares = zip(*(_shares(count, len(choices)) for count in completion.counts), strict=True)
    return [
        _answer(choice, completion, endpoint, int(at == 0), *share)
        for at, (choice, share) in enumerate(zip(choices, shares, strict=True))
    ]


def _shares(whole: int, parts: int) -> Iterator[int]:
    """Yield whole numbers that add up to another, as equal as can be, the larger ones first.

    So what is not nothing in all is not for the first, which stands for the call and its price.
    """
    return (-(-whole * (at + 1) // parts) - -(-whole * at // parts) for at in range(parts))


def _answer(
    choice: Choice,
    completion: Completion,
    endpoint: str,
    calls: int,
    prompt: int,
    said: int,
    cached: int,
) -> Answer | AnswerError:
    """Return one choice as an answer, or as the error that it is."""
    message = choice.message
    text = message.content
    if text is None or choice.finish_reason == "content_filter":
        return _taking(_without_text(choice), prompt, said, cached, calls)
    thought = message.reasoning_content or message.reasoning
    if not isinstance(thought, str):
        text, thought = without_thought(text)
    return Answer(
        text,
        None,
        prompt,
        said,
        completion.model or "",
        calls,
        cached,
        endpoint=endpoint,
        reasoning=thought,
    )


def _without_text(choice: Choice) -> AnswerError:
    """Return the error of a choice that says nothing."""
    reason, refused = choice.finish_reason, choice.message.refusal
    if refused or reason == "content_filter":
        why = shorten(refused) if refused else "a filter kept the answer back (content_filter)"
        return RefusalError(f"the model would not answer: {why}")
    cure = "; it used up its tokens before it said anything: raise max_tokens="
    error = EmptyError(
        f"the answer has no text: finish_reason is {reason}{cure if reason == 'length' else ''}"
    )
    error.passing = reason not in _FINAL
    return error


def _taking(error: AnswerError, prompt: int, said: int, cached: int, calls: int = 1) -> AnswerError:
    """Note with an error what the answer took."""
    error.usage = Usage(calls, prompt, said, cached, cost=math.nan)
    return error
