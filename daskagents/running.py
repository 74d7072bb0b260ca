"""Runs: a workflow is driven round by round, and what it yields is written down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from daskagents.agent import waits
from daskagents.choosing import check_choice
from daskagents.cluster import connect
from daskagents.driver import AHEAD, Driver, Heed
from daskagents.errors import NotStoredError, OlderError, UsageError
from daskagents.executors import Cluster, Executor, Here
from daskagents.journal.attempt import Journaling, Sync
from daskagents.journal.reading import accepted_of, usage_of
from daskagents.loop import patient_gc
from daskagents.models.base import Model
from daskagents.models.budget import Budget
from daskagents.models.chosen import as_model
from daskagents.models.describe import describe_model
from daskagents.models.stack import stack
from daskagents.named import Named
from daskagents.pacing import Every
from daskagents.population import Population
from daskagents.program import check_program, describe_program, describe_value
from daskagents.progress import Progress
from daskagents.projection import rounds_ahead
from daskagents.reading import reading
from daskagents.rounds import open_rounds
from daskagents.session import MAX_FAILED
from daskagents.store import Store
from daskagents.workflow import Workflow, bind, describe_workflow

#: Bytes up to which the result of a run is held in memory: without a directory, and with one.
_IN_MEMORY, _SMALL = 1 << 28, 1 << 24


@dataclass(frozen=True)
class Settings:
    """How a run is made: what `run` is given besides the workflow and its arguments.

    Parameters
    ----------
    client, model, seed, out, checkpoint_every, max_failed, budget, progress, resume, accept_changes
        As for `run`.
    sync
        What `run` calls ``fsync``.
    heed
        Is told of each round.
    source, on_miss
        The run directory whose answers are replayed, and what to do where it has none.
    """

    client: Any = None
    model: Model | None = None
    seed: int = 0
    out: str | Path | None = None
    checkpoint_every: Every = 20
    max_failed: float = MAX_FAILED
    budget: Budget | None = None
    progress: bool | None = None
    resume: bool = False
    accept_changes: bool = False
    sync: Sync = "batch"
    heed: Heed | None = None
    source: str = ""
    on_miss: Literal["error", "call"] = "error"

    def __post_init__(self) -> None:
        _check(self)


def run(
    workflow: Workflow,
    *args: Any,
    client: Any = None,
    model: Any = None,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    accept_changes: bool = False,
    checkpoint_every: Every = 20,
    max_failed: float = MAX_FAILED,
    on_failure: Literal["keep", "stop"] = "keep",
    budget: Budget | None = None,
    fsync: Sync = "batch",
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
        What agents ask whose population has no model of its own: a model, or several, as for
        `Population`. What is missing of the default stack is put around it (`models.stack`).
    seed
        Everything random in the run follows from it.
    out
        The run directory, new or empty; None makes a temporary one that lives as long as the
        result.
    resume
        Whether to go on with the run that `out` holds, if it holds one: after a kill, a failure or
        a spent budget, or for more rounds. What was computed is not computed again, and no answer
        of a model is asked for again.
    accept_changes
        Whether to go on although the program or the seed have changed since; the agents must be
        the same.
    checkpoint_every
        Rounds between two checkpoints of the agents' state; or ``"auto"``: as often as takes at
        most 3 % of the time, but at least every 100 rounds.
    max_failed
        Largest fraction of the addressed agents that may fail in a step before the run stops.
    on_failure
        ``"keep"``: an agent that fails keeps its state, and the run goes on up to `max_failed`;
        ``"stop"``: the run stops at the first.
    budget
        What all models may spend together, as ``da.Budget(tokens=1_000_000)``; then the run stops.
        One that is resumed keeps what it had spent.
    fsync
        When the disk itself is to have an answer, and not only the operating system, which a kill
        of processes does not touch: within 50 ms, before it is used (``"each"``) or ``"never"``.
        The same, but for ``"never"``, with a checkpoint before it counts.
    progress
        Whether to show progress; by default where standard error is a terminal or a notebook.

    Returns
    -------
    xarray.Dataset
        Over ``round`` and the dimensions of the populations, with what the workflow yielded;
        ``failed`` for each agent; and per round ``n_failed``, ``calls``, ``prompt_tokens``,
        ``completion_tokens``, ``cached_tokens``, ``retries``, ``cost`` (NaN where no price is
        known), ``seconds_waiting`` (of all agents together) and ``seconds``; where several models
        were asked, ``calls_by_model``, ``tokens_by_model`` and ``cost_by_model``. Read from the
        run directory as needed; in memory if that was temporary and the result is small.

    Raises
    ------
    UsageError
        Before anything is started: what was asked for wrongly.
    EndpointError
        Before anything is started: the model cannot be reached.
    BudgetError
        If the budget is spent; what was done until then is in the run directory.
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
    if on_failure not in ("keep", "stop"):
        raise UsageError(f"on_failure is {on_failure!r}; give 'keep' or 'stop'")
    settings = Settings(
        client=client,
        model=as_model(model),
        seed=seed,
        out=out,
        checkpoint_every=checkpoint_every,
        max_failed=0.0 if on_failure == "stop" else max_failed,
        budget=budget,
        progress=progress,
        resume=resume,
        accept_changes=accept_changes,
        sync=fsync,
    )
    return execute(workflow, bind(workflow, args, options), settings)


def execute(workflow: Workflow, bound: Any, settings: Settings) -> xr.Dataset:
    """Run a workflow with the arguments that it was bound to."""
    model, budget = settings.model, settings.budget
    populations = list(populations_in(bound.arguments))
    for population in populations:
        if model is not None and population.model is None and waits(population.cls):
            check_choice(population.cls, population.table, model)
    if not settings.source or settings.on_miss == "call":
        _check_models([model, *(population.model for population in populations)], budget)
    store = Store(settings.out, resume=settings.resume, sync=settings.sync != "never")
    try:
        program = describe_program(store.folder, workflow, bound.arguments, model)
        if store.past is not None:
            store.past.may_differ = accept = settings.accept_changes
            check_program(store.about, store.folder, program, int(settings.seed), accept)
        with ExitStack() as entered:
            executor = entered.enter_context(executor_for(settings.client))
            try:
                try:
                    _drive(executor, store, workflow, bound, settings, program)
                except OlderError:  # so from the checkpoint before
                    _drive(executor, store, workflow, bound, settings, program)
            except NotStoredError:  # so all is computed again, with the answers that are there
                assert store.past is not None
                store.past.checkpoint = None
                _drive(executor, store, workflow, bound, settings, program)
    except BaseException:
        if store.temporary or not store.begun:
            store.remove()
        else:
            store.close()
        raise
    return _result(store)


def _drive(
    executor: Executor,
    store: Store,
    workflow: Workflow,
    bound: Any,
    settings: Settings,
    program: dict[str, Any],
) -> None:
    """Drive a workflow to its end, once."""
    model, budget, past = settings.model, settings.budget, store.past
    journaling = Journaling(
        "" if settings.source and store.temporary else str(store.folder),
        "",
        source=settings.source,
        on_miss="call" if settings.accept_changes else settings.on_miss,
        sync=settings.sync,
    )
    known = Path(settings.source) if settings.source else store.folder if past else None
    driver = Driver(
        executor,
        store,
        model=model,
        seed=int(settings.seed),
        checkpoint_every=settings.checkpoint_every,
        max_failed=settings.max_failed,
        budget=budget,
        spent=usage_of(store.folder) if past is not None else None,
        journal=lambda life: replace(journaling, life=life),
        accepted=accepted_of(known) if known is not None else None,
        ahead=rounds_ahead(list(populations_in(bound.arguments)), executor.memory(), AHEAD),
        heed=settings.heed,
        source=settings.source,
    )
    with reading(driver.read):
        store.begin(
            workflow=describe_workflow(workflow, bound.arguments),
            program=program,
            id=driver.session.token,
            model=describe_model(model and stack(model, budget)),
            model_made_with=model and describe_value(model),
            seed=int(settings.seed),
            checkpoint_every=settings.checkpoint_every,
            max_failed=settings.max_failed,
            fsync=settings.sync,
            replays={"source": settings.source, "on_miss": settings.on_miss}
            if settings.source
            else None,
            budget=None if budget is None else budget.limits,
        )
        store.shared = executor.sees(str(store.folder / "run.json"))
        with Progress(driver.snapshot, settings.progress, bound.arguments.get("rounds")):
            driver.drive(workflow, bound)


def _check(settings: Settings) -> None:
    """Raise a `UsageError` if something is asked for wrongly."""
    seed, every = settings.seed, settings.checkpoint_every
    max_failed, budget = settings.max_failed, settings.budget
    if budget is not None and not isinstance(budget, Budget):
        raise UsageError(f"budget is {budget!r}; give a Budget, as da.Budget(tokens=1_000_000)")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise UsageError(f"seed is {seed!r}; a seed is an int")
    if every != "auto" and (not isinstance(every, int) or every < 1):
        raise UsageError(f"checkpoint_every is {every!r}; give a number of rounds, or 'auto'")
    if not isinstance(max_failed, int | float) or not 0 <= max_failed <= 1:
        raise UsageError(f"max_failed is {max_failed!r}; it is a fraction from 0 to 1")
    if settings.sync not in ("batch", "each", "never"):
        raise UsageError(f"fsync is {settings.sync!r}; give 'batch', 'each' or 'never'")
    if settings.resume and settings.out is None:
        raise UsageError("resume=True goes on with the run in a folder: give it as `out`")


@contextmanager
def executor_for(client: Any) -> Iterator[Executor]:
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


def populations_in(value: Any) -> Iterator[Population]:
    """Yield the populations among a workflow's arguments; a named agent is one too."""
    if isinstance(value, Population):
        yield value._whole
    elif isinstance(value, Named):
        yield value._population
    elif isinstance(value, dict):
        yield from populations_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from populations_in(inside)


def _check_models(models: Iterable[Model | None], budget: Budget | None) -> None:
    """Ask each model whether it can answer, before anything is started."""
    here = Here()
    try:
        for model in {id(model): model for model in models if model is not None}.values():
            here.loop.run(stack(model, budget).check())
    finally:
        here.close()


def _result(store: Store) -> xr.Dataset:
    found = open_rounds(store.folder, temporary=store.temporary)
    if found.nbytes < (_IN_MEMORY if store.temporary else _SMALL):
        # here: workers need not see this folder, and it would take them longer
        return found.load(scheduler="threads")
    return found
