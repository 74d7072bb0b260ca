"""How a run ends: what its errors mean, and what is said of it then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from distributed import CancelledError
from distributed.scheduler import KilledWorker

from daskagents.errors import BudgetError, RunError, StoppedError
from daskagents.executors import Executor
from daskagents.store import Store


def status_after(error: BaseException) -> str:
    """Return how a run has ended that ended so."""
    if isinstance(error, BudgetError):
        return "out of budget"
    if isinstance(error, StoppedError):
        return "stopped"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


@contextmanager
def plain_errors(executor: Executor, store: Store) -> Iterator[None]:
    """Say what Dask's errors mean for a run."""
    try:
        yield
    except KilledWorker as error:
        raise RunError(
            f"a block of agents was lost with {error.allowed_failures + 1} workers, one after"
            " another; see the workers' logs for why they died (memory, most often)"
        ) from error
    except CancelledError as error:
        # a future made while the client tries to connect again is cancelled without a reason
        lost = "connection-lost" in str(error) or not executor.connected()
        hint = "" if store.temporary else f"; go on: daskagents resume {store.folder}"
        raise RunError(
            f"the connection to the Dask scheduler was lost{hint}"
            if lost
            else "agents were lost with their worker, and can be made again only where all workers"
            f" see the run directory; give an `out` that they share ({error})"
        ) from error
