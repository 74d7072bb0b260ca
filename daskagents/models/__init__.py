"""Models: whatever answers a chat, and what can be put around one that does."""

from daskagents.models.adaptive import Adaptive
from daskagents.models.base import Answer, Model, Request, Wrapper
from daskagents.models.budget import Budget, Budgeted
from daskagents.models.chosen import Chosen
from daskagents.models.coalesce import Coalesce
from daskagents.models.dummy import Dummy
from daskagents.models.local import local
from daskagents.models.openai import OpenAI
from daskagents.models.pool import Pool
from daskagents.models.prices import Price
from daskagents.models.rate import RateLimit
from daskagents.models.retry import Retry
from daskagents.models.stack import stack

__all__ = [
    "Adaptive",
    "Answer",
    "Budget",
    "Budgeted",
    "Chosen",
    "Coalesce",
    "Dummy",
    "Model",
    "OpenAI",
    "Pool",
    "Price",
    "RateLimit",
    "Request",
    "Retry",
    "Wrapper",
    "local",
    "stack",
]
