"""Ctrl-C: one program hears it, ends what it has started, and says so in one line."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

#: The exit code of a program that Ctrl-C has ended.
INTERRUPTED = 130


@contextmanager
def quiet_interrupt() -> Iterator[None]:
    """At Ctrl-C, keep Dask from writing of all that is torn down; at a second one, wait no more."""

    def interrupt(number: int, frame: Any) -> None:
        # What runs elsewhere on this machine ends by itself when this process does.
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        logging.disable()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def own_cluster(workers: int | None = None) -> Iterator[Client]:
    """Yield the client of a cluster of this machine whose processes leave Ctrl-C to us.

    Parameters
    ----------
    workers
        How many worker processes; by default one per core.

    """
    # not above: whoever asks for help need not wait for Dask
    from distributed import Client

    from daskagents.cluster import HushPlugin, start_cluster

    with start_cluster(workers) as cluster, Client(cluster, set_as_default=False) as client:
        client.register_plugin(HushPlugin())
        yield client
