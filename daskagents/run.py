"""Runs: a workflow is driven round by round, and what it yields is written down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr

from daskagents.cluster import connect
from daskagents.driver import Driver
from daskagents.errors import UsageError
from daskagents.executors import Cluster, Executor, Here
from daskagents.models.base import Model
from daskagents.loop import patient_gc
from daskagents.named import Named
from daskagents.population import Population
from daskagents.progress import Progress
from daskagents.rounds import open_rounds
from daskagents.session import MAX_FAILED
from daskagents.store import Store
from daskagents.workflow import Workflow, bind, describe_workflow

#: Bytes up to which the result of a run without a directory is held in memory.
_IN_MEMORY = 1 << 28


def run(
    workflow: Workflow,
    *args: Any,
    client: Any = None,
    model: Model | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    checkpoint_every: int = 20,
    max_failed: float = MAX_FAILED,
    progress: bool | None = None,
    **options: Any,
) -> xr.Dataset:
    """Run a workflow: a generator function that asks populations and yields each round's results.

    Parameters
    ----------
    workflow
        A generator function. Its first arguments are the populations and agents it works with;
        each ``yield`` ends a round with a Dataset, a DataArray or a dict of these and of numbers.
    *args, **options
        What the workflow is called with. Populations and named agents are copied: those given are
        not changed and can be run again.
    client
        None: the current Dask client, or else a cluster of this machine's cores started for this
        run. ``"sync"``: this thread, no cluster, where a debugger works. Or a
        `distributed.Client`, or the address of a scheduler. The results are the same.
    model
        What agents ask whose population has no model of its own.
    seed
        Everything random in the run follows from it.
    out
        The run directory, new or empty; None makes a temporary one that lives as long as the
        result.
    checkpoint_every
        Rounds between two checkpoints of the agents' state.
    max_failed
        Largest fraction of the addressed agents that may fail in a step before the run stops.
    progress
        Whether to show progress; by default where standard error is a terminal.

    Returns
    -------
    xarray.Dataset
        Over ``round`` and the dimensions of the populations, with what the workflow yielded;
        ``failed`` for each agent; and per round ``n_failed``, ``calls``, ``prompt_tokens``,
        ``completion_tokens``, ``cost`` (NaN where no price is known) and ``seconds``. Read from
        the run directory as needed; in memory if that was temporary and the result is small.

    Raises
    ------
    UsageError
        Before anything is started: what was asked for wrongly.
    EndpointError
        Before anything is started: the model cannot be reached.
    RunError
        If too many agents failed, or the cluster or the run directory failed.

    Examples
    --------
    >>> import daskagents as da
    >>> class Player(da.Agent):
    ...     def reply(self, message):
    ...         return {"guess": self.rng.uniform(0, 100)}
    >>> def game(players, rounds=2):
    ...     for _ in range(rounds):
    ...         replies = players.reply()
    ...         yield replies.assign(winner=2 / 3 * replies["guess"].mean())
    >>> result = da.run(game, da.Population(Player, 1_000), rounds=3, seed=7, client="sync")
    >>> dict(result.sizes)
    {'round': 3, 'agent': 1000}

    """
    bound = bind(workflow, args, options)
    _check_options(model, seed, checkpoint_every, max_failed)
    with ExitStack() as stack:
        executor = stack.enter_context(_executor(client))
        for asked in {
            id(m): m for m in [model, *_models(bound.arguments)] if m is not None
        }.values():
            _check_model(executor, asked)
        store = Store(out)
        try:
            driver = Driver(
                executor,
                store,
                model=model,
                seed=seed,
                checkpoint_every=checkpoint_every,
                max_failed=max_failed,
            )
            stack.enter_context(_dask_config(driver))
            store.begin(
                workflow=describe_workflow(workflow, bound.arguments),
                seed=seed,
                checkpoint_every=checkpoint_every,
                max_failed=max_failed,
            )
            if not executor.sees(str(store.folder / "run.json")):
                store.shared = False
            with Progress(driver.snapshot, progress, bound.arguments.get("rounds")):
                driver.drive(workflow, bound)
        except BaseException:
            if store.temporary:
                store.remove()
            raise
    return _result(store)


def _check_options(
    model: Model | None, seed: int, checkpoint_every: int, max_failed: float
) -> None:
    if model is not None and not isinstance(model, Model):
        raise UsageError(f"model is {model!r}; give one of daskagents.models")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise UsageError(f"seed is {seed!r}; a seed is an int")
    if not isinstance(checkpoint_every, int) or checkpoint_every < 1:
        raise UsageError(f"checkpoint_every is {checkpoint_every!r}; give a number of rounds")
    if not 0 <= max_failed <= 1:
        raise UsageError(f"max_failed is {max_failed!r}; it is a fraction from 0 to 1")


@contextmanager
def _executor(client: Any) -> Iterator[Executor]:
    """Yield where the run's tasks run."""
    if isinstance(client, str) and client == "sync":
        here = Here()
        try:
            with patient_gc():
                yield here
        finally:
            here.close()
        return
    with connect(client) as connected:
        yield Cluster(connected)


def _models(arguments: dict[str, Any]) -> Iterator[Model]:
    for value in arguments.values():
        population = value._population if isinstance(value, Named) else value
        if isinstance(population, Population) and population.model is not None:
            yield population.model


def _check_model(executor: Executor, model: Model) -> None:
    """Ask a model whether it can answer, before any agent starts."""
    if isinstance(executor, Here):
        executor.loop.run(model.check())
        return
    here = Here()
    try:
        here.loop.run(model.check())
    finally:
        here.close()


@contextmanager
def _dask_config(driver: Driver) -> Iterator[None]:
    """Set what a run needs of Dask: reads go through it, and graphs keep their shape."""
    settings = {
        "scheduler": driver.read,
        # the same array computed twice with other fusion would be two tasks of one key
        "optimization.fuse.active": False,
        # one hop for a reduction over the blocks of a usual population
        "split_every": 16,
    }
    with dask.config.set(settings):
        yield


def _result(store: Store) -> xr.Dataset:
    found = open_rounds(store.folder, temporary=store.temporary)
    if store.temporary and found.nbytes < _IN_MEMORY:
        return found.load()
    return found
