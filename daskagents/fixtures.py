"""Fixtures for pytest: ``pytest_plugins = ["daskagents.fixtures"]`` in a conftest has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from daskagents.testing import ModelServer, model_server


@pytest.fixture
def serve_model() -> Iterator[Callable[..., ModelServer]]:
    """Start model servers that last as long as the test; takes what `model_server` takes."""
    with ExitStack() as servers:
        yield lambda **settings: servers.enter_context(model_server(**settings))
