"""More workers or fewer, where the client has the object of its cluster."""

from __future__ import annotations

from typing import Any

from distributed import Status

from daskagents.errors import UsageError

_GONE = (Status.closing_gracefully, Status.closing, Status.closed)


def scale(executor: Any, workers: int) -> int:
    """Ask the cluster of a run, or of a client, for so many workers; they come in a while.

    Those that go first hand over what they hold.

    Parameters
    ----------
    executor
        An executor, or a Dask client.
    workers
        How many there are to be.

    Returns
    -------
    int
        The same number.

    Raises
    ------
    UsageError
        If the number is none, or there is nothing here that can start workers.
    """
    if type(workers) is not int or workers < 1:
        raise UsageError(f"{workers!r} is no number of workers; give one from 1 on")
    client = getattr(executor, "client", executor)
    cluster: Any = getattr(client, "cluster", None)
    if not callable(getattr(cluster, "scale", None)):
        raise UsageError(
            "this run knows the address of its scheduler alone, and cannot start workers; start"
            " them as you started the others (`dask worker ADDRESS`), or give the run a client"
            " that was made of a cluster object: Client(cluster)"
            if hasattr(client, "scheduler_info")
            else "this run has no cluster; it runs in one process"
        )
    if getattr(cluster, "_adaptive", None) is not None:
        raise UsageError(
            "this cluster adds and removes workers by itself (cluster.adapt); change its bounds in"
            " the program that made it"
        )
    known: Any = getattr(cluster, "workers", None)
    for name, worker in list(known.items()) if isinstance(known, dict) else ():
        if getattr(worker, "status", None) in _GONE:
            # one that was retired: a cluster believes for a while that it is still there
            known.pop(name, None)
    cluster.scale(workers)
    return workers
