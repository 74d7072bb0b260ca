"""Models: whatever answers a chat."""

from daskagents.models.base import Answer, Model, Request
from daskagents.models.dummy import Dummy
from daskagents.models.local import local
from daskagents.models.openai import OpenAI

__all__ = ["Answer", "Dummy", "Model", "OpenAI", "Request", "local"]
