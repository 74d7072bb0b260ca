"""Very large societies of language-model agents, as one object, on Dask.

What needs Dask, xarray or Zarr is imported when it is first used: a program that only defines
agents, or asks for help, need not wait for these.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from daskagents.agent import Agent
from daskagents.environments.base import Environment, shared
from daskagents.errors import DaskAgentsError
from daskagents.message import Message

if TYPE_CHECKING:
    from daskagents import models
    from daskagents.estimating import estimate
    from daskagents.models.budget import Budget
    from daskagents.named import spawn
    from daskagents.opened import open_run
    from daskagents.population import Population
    from daskagents.resuming import replay, resume
    from daskagents.running import run

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "Budget",
    "DaskAgentsError",
    "Environment",
    "Message",
    "Population",
    "estimate",
    "models",
    "open_run",
    "replay",
    "resume",
    "run",
    "shared",
    "spawn",
]

#: Where public names are that are imported when first used.
_LATER = {
    "Budget": "daskagents.models.budget",
    "Population": "daskagents.population",
    "estimate": "daskagents.estimating",
    "open_run": "daskagents.opened",
    "replay": "daskagents.resuming",
    "resume": "daskagents.resuming",
    "run": "daskagents.running",
    "spawn": "daskagents.named",
}


def __getattr__(name: str) -> Any:
    if name == "models":
        return import_module("daskagents.models")
    if name not in _LATER:
        raise AttributeError(f"module 'daskagents' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
