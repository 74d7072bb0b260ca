"""What notebooks show of an environment: its fields, what they hold, and who writes to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskagents import html
from daskagents.spark import bars_of

if TYPE_CHECKING:
    from daskagents.environments.base import Declared, Environment


def portrait(env: Environment) -> str:
    """Return an environment as HTML: within a run as it was at the start, as nothing is waited for.

    Parameters
    ----------
    env
        The environment.

    """
    alone = env._seat is None
    known = env.__dict__ if alone else env._start
    rows = [
        (name, _type(declared), *_value(declared, known.get(name)), _written(declared))
        for name, declared in env.__fields__.items()
    ]
    about = {} if alone else {"name": env._seat.name, "newest version": f"{env._seat.number:,}"}
    head = ("field", "type", "value" if alone else "at the start", "", "agents write")
    return html.table(f"Environment {type(env).__name__}", about, rows, head)


def _type(declared: Declared) -> str:
    if declared.field is not None:
        return declared.field.label
    name = "" if declared.inner is None else declared.inner.__name__
    return {"array": "array", "one": name}.get(declared.kind, f"{name} by key")


def _value(declared: Declared, value: Any) -> tuple[str, str]:
    """Return what a field holds: in words, and as a picture."""
    if value is None or declared.kind == "value":
        return html.short(value), ""
    if declared.kind == "array":
        sizes = ", ".join(f"{dim}: {size:,}" for dim, size in value.sizes.items())
        bars = bars_of(value.values.reshape(-1)[:100_000])
        return f"({sizes}) {value.dtype}", "" if bars is None else bars.svg()
    if declared.kind == "many":
        keys = [html.short(key) for key in list(value)[:3]]
        return f"{len(value):,}: {', '.join(keys)}{', ...' * (len(value) > 3)}", ""
    return ", ".join(type(value).__fields__), ""


def _written(declared: Declared) -> str:
    return "" if declared.reducer is None else declared.reducer.name
