"""Very large societies of language-model agents, as one object, on Dask."""

from daskagents import models
from daskagents.agent import Agent
from daskagents.errors import DaskAgentsError
from daskagents.message import Message
from daskagents.named import spawn
from daskagents.opened import open_run
from daskagents.population import Population
from daskagents.run import run

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "DaskAgentsError",
    "Message",
    "Population",
    "models",
    "open_run",
    "run",
    "spawn",
]
