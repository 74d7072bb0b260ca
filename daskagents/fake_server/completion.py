"""The body of an answer, in the form of a chat completion."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import msgspec

encode = msgspec.json.Encoder().encode


class Message(msgspec.Struct, omit_defaults=True):
    """What was answered."""

    role: str
    content: str | None
    refusal: str | None = None
    reasoning_content: str | None = None


class OneChoice(msgspec.Struct, omit_defaults=True):
    """One of the answers to a request."""

    index: int
    message: Message
    finish_reason: str
    logprobs: dict[str, Any] | None = None


class Tokens(NamedTuple):
    """What an answer took: tokens of the prompt, of the answer, and of the prompt in the cache."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0


class _Usage(msgspec.Struct, omit_defaults=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int] | None = None
    completion_tokens_details: dict[str, int] | None = None


class _Completion(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[OneChoice]
    usage: _Usage


def completion(
    number: int,
    model: str,
    choices: list[OneChoice],
    tokens: Tokens,
    *,
    thought: int = 0,
    caches: bool = False,
) -> bytes:
    """Return the body of an answer.

    Parameters
    ----------
    number
        What its id is made of.
    model, choices, tokens
        Its parts.
    thought
        Tokens of the completion that are thoughts.
    caches
        Whether to tell of cached tokens.
    """
    usage = _Usage(tokens.prompt, tokens.completion, tokens.prompt + tokens.completion)
    if caches:
        usage.prompt_tokens_details = {"cached_tokens": tokens.cached}
    if thought:
        usage.completion_tokens_details = {"reasoning_tokens": thought}
    now, name = int(time.time()), f"chatcmpl-{number}"
    return encode(_Completion(name, "chat.completion", now, model, choices, usage))


def problem(message: str, parameter: str | None = None, code: str | None = None) -> bytes:
    """Return the body of a refusal, in the form that OpenAI gives it."""
    kind = "invalid_request_error" if parameter else "error"
    return encode({"error": {"message": message, "type": kind, "param": parameter, "code": code}})
