"""The driver of a run: lets the workflow run ahead, closes its rounds in order, cuts the lineage."""

from __future__ import annotations

import time
from typing import Any

import dask
import numpy as np
from distributed.scheduler import KilledWorker

from daskagents import tasks
from daskagents.errors import DaskAgentsError, RunError
from daskagents.executors import Executor
from daskagents.models.base import Model
from daskagents.named import Named
from daskagents.plan import plan_each
from daskagents.population import Population
from daskagents.progress import Snapshot
from daskagents.record import Record
from daskagents.rounds import Rounds, fold, remove
from daskagents.session import Session, running
from daskagents.step import Usage
from daskagents.store import Store, disk_error
from daskagents.workflow import Workflow

#: Rounds that a workflow may be ahead of the cluster.
AHEAD = 8
#: Seconds between two looks at rounds whose window is not full.
FOLD_EVERY = 1.0


class Driver:
    """Drives one workflow.

    Parameters
    ----------
    executor
        Where tasks run.
    store
        The run directory.
    model, seed, checkpoint_every, max_failed
        As for `daskagents.run`.

    """

    def __init__(
        self,
        executor: Executor,
        store: Store,
        *,
        model: Model | None,
        seed: int,
        checkpoint_every: int,
        max_failed: float,
    ) -> None:
        self.session = Session(executor, seed=seed, model=model, store=store, max_failed=max_failed)
        self.executor, self.store, self.checkpoint_every = executor, store, checkpoint_every
        self.rounds = Rounds(store.rounds)
        self.pending: list[Record] = []
        self.yielded = self._last_cut = self.n_failed = self.replies = 0
        self.usage = Usage()
        self._folding: list[Any] | None = None
        self._folded = self._closed_at = self._started = time.monotonic()

    def read(self, graph: Any, keys: Any, **kwargs: Any) -> Any:
        """Compute what somebody reads, and write it down before it is handed over."""
        values = self.executor.get(graph, keys, **kwargs)
        for value in dask.core.flatten([values]):
            if isinstance(value, np.ndarray | np.generic | float | int | str):
                self.store.note("read", value=value)
        return values

    def drive(self, workflow: Workflow, bound: Any) -> None:
        """Run the workflow to its end, and write down how it ended."""
        status = "failed"
        try:
            with running(self.session):
                self._join(bound)
                for yielded in workflow(*bound.args, **bound.kwargs):
                    self._end_round(yielded)
                self._close_all()
                self._checkpoint()
            status = "done"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except KilledWorker as error:
            raise RunError(
                f"a block of agents was lost with {error.allowed_failures + 1} workers, one after"
                " another; see the workers' logs for why they died (memory, most often)"
            ) from error
        except OSError as error:
            if isinstance(error, DaskAgentsError) or error.errno is None:
                raise
            raise disk_error(error, self.store.folder) from error
        finally:
            self._end(status)

    def _join(self, bound: Any) -> None:
        """Bring copies of the given populations and agents into the run."""
        about = {}
        for name, value in bound.arguments.items():
            if isinstance(value, Population):
                copy = value._copy()
                _, members = copy._join(name, self.session)
            elif isinstance(value, Named):
                copy = Named(value._population._copy())  # type: ignore[assignment]
                _, members = copy._population._join(name, self.session)  # type: ignore[attr-defined]
            else:
                continue
            bound.arguments[name] = copy
            about[name] = members.describe()
        self.store.describe(populations=about)

    def _end_round(self, yielded: Any) -> None:
        """Take what was yielded; close the rounds that are done, and wait for the oldest."""
        steps, self.session.steps = self.session.steps, []
        record = Record(self.session, self.store, self.yielded, steps)
        record.take(yielded)
        self.yielded += 1
        self.session.epoch = self.yielded
        self.pending.append(record)
        while self.pending and (len(self.pending) > AHEAD or self._is_done(self.pending[0])):
            self._close(self.pending.pop(0))
        if self.yielded - self._last_cut >= self.checkpoint_every:
            self._close_all()
            self._checkpoint()

    def _is_done(self, record: Record) -> bool:
        return all(step.results or self.executor.done(step.parts) for step in record.steps)

    def _close_all(self) -> None:
        while self.pending:
            self._close(self.pending.pop(0))

    def _close(self, record: Record) -> None:
        """Wait for a round, and hand its pieces to the results."""
        usage, n_failed = Usage(), 0
        for step in record.steps:
            if step.results is None:
                parts = self.session.collect(step)
                usage = sum((part.usage for part in parts), usage)
                n_failed += sum(part.failed for part in parts)
                self.replies += step.addressed
            step.bundles, step.parts = [], []
        sources = record.sources(self.rounds)
        now = time.monotonic()
        own = {
            "n_failed": n_failed,
            "calls": usage.calls,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cost": float("nan") if usage.calls else 0.0,
            "seconds": now - self._closed_at,
        }
        self._closed_at = now
        values = {name: record.value(name) for name in record.values}
        for name, value in values.items():
            self.rounds.add_small(name, record.values[name][0], value)
        for name, number in own.items():
            self.rounds.add_small(name, (), number)
        self.rounds.close(sources)
        self.usage, self.n_failed = self.usage + usage, self.n_failed + n_failed
        self.store.note("round", round=record.number, values=values, **own)
        self.session.let_go(record.number)
        self._fold()

    def _fold(self) -> None:
        """Write closed rounds into the results, one batch at a time."""
        if self._folding is not None:
            if not self.executor.done(self._folding):
                return
            self._finish_fold()
        now = time.monotonic()
        if self.rounds.full() or now - self._folded > FOLD_EVERY:
            if now - self._folded > FOLD_EVERY:
                self.rounds.write_small()
                self._folded = now
            self._start_fold()

    def _start_fold(self) -> None:
        folds = self.rounds.folds()
        if self.store.shared:
            name = f"fold-{self.session.token}-{self.rounds.closed}-{time.monotonic_ns()}"
            self._folding = self.executor.submit(plan_each(name, fold, [(f,) for f in folds]))
        else:
            self._folding = []
            for task in folds:
                fold(task)

    def _finish_fold(self) -> None:
        self.executor.gather(self._folding or [])
        self._folding = None
        remove(self.rounds.folded())

    def _checkpoint(self) -> None:
        """Write all blocks, and go on from what was written, so that the past can be let go."""
        self._last_cut = self.yielded
        every = [(m, i) for m in self.session.members.values() for i in range(len(m.handles))]
        paths = [self.store.checkpoint(self.yielded, m.name, i) for m, i in every]
        rows = [
            (m.handles[i], path if self.store.shared else None)
            for (m, i), path in zip(every, paths, strict=True)
        ]
        plan = plan_each(f"write-{self.session.token}-{self.yielded}", tasks.write_state, rows)
        written = self.executor.gather(self.executor.submit(plan))
        blocks: list[Any] = []
        for path, (block, _) in zip(paths, written, strict=True):
            if block is not None:
                tasks.write_state(block, path)
                block = self.executor.scatter(tasks.load_state(path))
            blocks.append(block)
        where = [(path, address) for path, (_, address) in zip(paths, written, strict=True)]
        for (m, i), handle in zip(every, self.executor.reload(where, blocks), strict=True):
            m.handles[i] = handle
        self.session.cut = self.session.count
        self.store.note("checkpoint", round=self.yielded)
        self.store.prune()

    def _end(self, status: str) -> None:
        """Leave a readable run directory behind, whatever happened."""
        self.session.close()
        try:
            if status != "done":
                self.executor.cancel([h for m in self.session.members.values() for h in m.handles])
            if self._folding is not None:
                self._finish_fold()
            self.rounds.write_small()
            for task in self.rounds.folds():
                fold(task)
            remove(self.rounds.folded())
            self.rounds.finish()
            self.executor.forget(str(self.store.folder))
        except Exception as error:
            if status == "done":
                raise
            self.store.note("unfinished", error=repr(error))
        finally:
            self.store.end(status, rounds=self.rounds.closed)

    def snapshot(self) -> Snapshot:
        """Say how far the run is."""
        live = list(self.session.live.values())
        usage = sum((u for _, _, u in live), self.usage)
        return Snapshot(
            self.rounds.closed,
            self.replies + sum(done for done, _, _ in live),
            usage.calls,
            usage.prompt_tokens + usage.completion_tokens,
            self.n_failed + sum(failed for _, failed, _ in live),
            time.monotonic() - self._started,
        )
