"""Models in words, without their keys; and keys, so that they are left out elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from daskagents.models.base import Model
from daskagents.models.endpoint import Secret

#: What looks like a key.
SECRET = re.compile(rb"\b(sk|gsk|hf|key|pk|xai|AIza|Bearer)[-_ ]?[A-Za-z0-9_-]{16,}")
#: What is called one, and the text that it is given in a program.
_GIVEN = re.compile(
    rb"""(?i)(key|token|secret|password|authorization)(\w*["']?\]?\s*[=:]\s*[rbuf]?)(["'])[^"'\n]{4,}\3"""
)
_CALLED = re.compile(r"(?i)(^|_)(api_?key|secret|password|token)$")
#: Shorter keys ("none", "EMPTY") may be words.
_SHORTEST = 8


def describe_model(model: Model | None) -> str:
    """Return what ``run.json`` says of a model: of a user's own, its class alone."""
    if model is None:
        return ""
    cls = type(model)
    if not cls.__module__.startswith("daskagents."):
        # how others show themselves is not known, and may be with their key
        return f"{cls.__module__}.{cls.__qualname__}"
    if not is_dataclass(model):
        return repr(model)
    shown = (f"{f.name}={_describe(getattr(model, f.name))}" for f in fields(model) if f.repr)
    return f"{cls.__name__}({', '.join(shown)})"


def is_secret(name: str, value: Any) -> bool:
    """Whether a value is a key, by its name or by how it looks.

    Examples
    --------
    >>> is_secret("api_key", "any"), is_secret("keys", "any"), is_secret("x", "sk-" + 20 * "a")
    (True, False, True)
    """
    if not isinstance(value, str):
        return False
    return _CALLED.search(name) is not None or SECRET.search(value.encode()) is not None


def without_secrets(program: bytes, given: Any) -> bytes:
    """Return a program without the keys that stand in it.

    Parameters
    ----------
    program
        Its text.
    given
        The models that it uses, and what holds them.

    Examples
    --------
    >>> without_secrets(b"OpenAI('x', api_key='very secret')", None)
    b"OpenAI('x', api_key='***')"
    """
    for key in {*secrets_in(given), os.environ.get("OPENAI_API_KEY", "").strip()}:
        if len(key) >= _SHORTEST:
            program = program.replace(key.encode(), b"***")
    return _GIVEN.sub(rb"\1\2\3***\3", SECRET.sub(b"***", program))


def secrets_in(given: Any) -> Iterator[str]:
    """Yield the keys of models, of those within them, and of populations that have some."""
    if isinstance(given, Secret):
        yield given.value
    elif isinstance(given, Mapping):
        yield from secrets_in(tuple(given.values()))
    elif isinstance(given, tuple | list):
        for inner in given:
            yield from secrets_in(inner)
    elif isinstance(given, Model):
        yield from secrets_in(getattr(given, "__dict__", {}))


def _describe(value: Any) -> str:
    """Return what ``run.json`` says of a part of a model."""
    if isinstance(value, Model):
        return describe_model(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_describe, value))})"
    return str(getattr(value, "__qualname__", repr(value)))
