"""What runs need of Dask's settings while they last: reads go to the run that they are part of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dask
from dask.base import get_scheduler
from dask.threaded import get as get_in_threads
from distributed import get_client

#: Computes the keys of a graph; what Dask calls a scheduler.
Reader = Callable[..., Any]

_reader: ContextVar[Reader | None] = ContextVar("_reader", default=None)
_lock = threading.Lock()
_runs = 0
_settings: Any = None
_before: Any = None


def read(graph: Any, keys: Any, **kwargs: Any) -> Any:
    """Compute what somebody reads: with the run of this thread, or else as without any run.

    Dask's settings are those of the process, and are sent to worker processes that it starts: so
    the scheduler they name is this function, which pickles by name.
    """
    reader = _reader.get() or _usual_reader()
    return reader(graph, keys, **kwargs)


def _usual_reader() -> Reader:
    """Return what computes where no run does: as it was set, the current client, or threads."""
    if _before is not None:
        return get_scheduler(scheduler=_before)  # type: ignore[no-any-return]
    try:
        usual: Reader = get_client().get
    except ValueError:
        usual = get_in_threads
    return usual


@contextmanager
def reading(reader: Reader) -> Iterator[None]:
    """Let `reader` compute what this thread reads, and let graphs keep their shape."""
    global _runs, _settings, _before
    with _lock:
        if not _runs:
            _before = dask.config.get("scheduler", None)
            _settings = dask.config.set(
                {
                    "scheduler": read,
                    # an array computed twice with other fusion would be two tasks of one key
                    "optimization.fuse.active": False,
                    # one hop for a reduction over the blocks of a usual population
                    "split_every": 16,
                }
            )
        _runs += 1
    token = _reader.set(reader)
    try:
        yield
    finally:
        _reader.reset(token)
        with _lock:
            _runs -= 1
            if not _runs:
                _settings.__exit__(None, None, None)
