"""Models in words, without their keys."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from daskagents.models.base import Model


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


def _describe(value: Any) -> str:
    """Return what ``run.json`` says of a part of a model."""
    if isinstance(value, Model):
        return describe_model(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_describe, value))})"
    return str(getattr(value, "__qualname__", repr(value)))
