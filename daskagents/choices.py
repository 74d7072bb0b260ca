"""What a run is given on the command line: options, a folder, a place to run, and a model."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskagents.agent import Agent
from daskagents.errors import UsageError
from daskagents.interrupt import own_cluster
from daskagents.models.base import Model
from daskagents.reporting import tell

if TYPE_CHECKING:
    from distributed import Client

    from daskagents.models.budget import Budget

_LOCAL = (
    "The local model is a very small one: it shows that the system works with a language model."
    " Its answers say nothing about how people behave, or larger models."
)


def pairs(options: Iterable[str]) -> dict[str, str]:
    """Split options at their first equals sign."""
    found = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"-p {option}: give a parameter and its value, such as -p rounds=5")
        found[name] = value
    return found


def free_folder(name: str) -> Path:
    """Return a run directory that is not there yet."""
    first = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, number = first, 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


def where(
    sync: bool, scheduler: str | None, workers: int | None
) -> AbstractContextManager[Client | str]:
    """Return a context that gives `run` its client."""
    given = {"--sync": sync, "--scheduler": scheduler, "--workers": workers}
    chosen = [name for name, value in given.items() if value]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)}: give one of them, they exclude each other")
    known = "sync" if sync else scheduler
    return own_cluster(workers) if known is None else nullcontext(known)


def budget_for(options: Iterable[str]) -> Budget | None:
    """Return the budget of a run; None without limits."""
    from daskagents.models.budget import Budget

    limits: dict[str, float] = {}
    for option in options:
        name, _, amount = option.partition("=")
        try:
            limits[name] = float(amount.replace("_", ""))
        except ValueError:
            limits[name] = -1.0
        if name not in Budget.__dataclass_fields__ or limits[name] < 0:
            raise UsageError(
                f"--budget {option}: give a limit and its amount, such as tokens=1000000, cost=5 or"
                " calls=10000"
            )
    return Budget(**limits) if limits else None


def model_for(said: str | None, given: Iterable[Any]) -> Model | None:
    """Return the model of a run: what was said or, where agents may ask one, the local one."""
    from daskagents.population import Population

    populations = [value for value in given if isinstance(value, Population)]
    if said is None and not any(p.model is None and _waits(p.cls) for p in populations):
        return None
    return named_model(said or "local")


def named_model(said: str) -> Model:
    """Return the model that a word on the command line means."""
    from daskagents import models

    if said == "local":
        tell(_LOCAL)
        try:
            return models.local()
        except UsageError as error:
            raise UsageError(f"{error}; or choose another model with --model") from None
    if said == "random":
        return models.Dummy(answer=None)
    if said.startswith(("http://", "https://")):
        return models.OpenAI(base_url=said)
    return models.OpenAI(said)


def _waits(cls: type[Agent]) -> bool:
    """Whether agents of a class may ask a model: they wait for something in some method."""
    own = {
        name
        for base in cls.__mro__
        if issubclass(base, Agent) and base is not Agent
        for name in vars(base)
    }
    return any(inspect.iscoroutinefunction(getattr(cls, name)) for name in own)
