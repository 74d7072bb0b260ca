"""The driver of a run: lets the workflow run ahead, closes rounds in order, cuts the lineage."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict
from typing import Any, cast

import numpy as np

from daskagents import tasks
from daskagents.current import running
from daskagents.ending import plain_errors, status_after
from daskagents.environments.base import Environment, start_of
from daskagents.errors import (
    DaskAgentsError,
    FolderError,
    NotStoredError,
    OlderError,
    RunError,
)
from daskagents.executors import Executor
from daskagents.folding import Folding
from daskagents.journal.attempt import Journaling
from daskagents.members import Members, Step
from daskagents.models.base import Model
from daskagents.models.budget import Budget
from daskagents.monitor.news import tell_round, tell_run, tell_state
from daskagents.named import Named
from daskagents.pacing import Every, Pace
from daskagents.past import LOST, write_checkpoint
from daskagents.plan import plan_each
from daskagents.population import Population
from daskagents.reads import AGAIN
from daskagents.record import Record
from daskagents.rounds import Rounds, add_alive, fold, paths, remove
from daskagents.session import Session
from daskagents.snapshot import Snapshot, heard_of
from daskagents.steering.control import Control
from daskagents.store import Store
from daskagents.tasks import Part, writing
from daskagents.usage import Tally, Usage, read_tally
from daskagents.values import Value
from daskagents.workflow import Workflow

_Rounds = Generator[Any, None, None]

#: Hears of a round: its number, its seconds, its steps with what their blocks told.
Heed = Callable[[int, float, list[tuple[Step, list[Part]]]], None]

#: Rounds that a workflow may be ahead of the cluster.
AHEAD = 8

_log = logging.getLogger("daskagents")


class Driver:
    """Drives one workflow.

    Parameters
    ----------
    executor
        Where tasks run.
    store
        The run directory.
    model, seed, checkpoint_every, max_failed, budget
        As for `daskagents.run`.
    ahead
        Rounds that the workflow may be ahead of the cluster.
    heed
        Is told of each round that is closed: its number, seconds, and what each block of each of
        its steps told.
    source
        The run directory whose interventions are made again, of a replay.

    """

    def __init__(
        self,
        executor: Executor,
        store: Store,
        *,
        model: Model | None,
        seed: int,
        checkpoint_every: Every,
        max_failed: float,
        budget: Budget | None = None,
        spent: Usage | None = None,
        journal: Callable[[str], Journaling] | None = None,
        accepted: Mapping[int, Mapping[int, str]] | None = None,
        ahead: int = AHEAD,
        heed: Heed | None = None,
        source: str = "",
    ) -> None:
        self.ahead, self.heed, self.past = ahead, heed, store.past
        self._was_done = store.about.get("status") == "done"
        self.session = Session(
            executor,
            seed=seed,
            model=model,
            store=store,
            max_failed=max_failed,
            budget=budget,
            spent=spent,
            past=store.past,
            journal=journal,
            accepted=accepted,
        )
        self.executor, self.store, self._pace = executor, store, Pace(checkpoint_every)
        checkpoint = None if store.past is None else store.past.checkpoint
        before = {} if checkpoint is None else checkpoint.state
        with writing(store.folder):
            self.rounds = Rounds(store.rounds, before.get("rounds"))
            if store.past is not None:
                store.forget_after(self.rounds.closed)
        self.pending: list[Record] = []
        self.yielded, self._last_cut = 0, self.rounds.closed
        self.n_failed, self.replies = before.get("n_failed", 0), before.get("replies", 0)
        self.usage = read_tally(before.get("usage", ()))
        self._models: set[str] = set(before.get("models", ()))
        self._alive: list[int] = before.get("alive", [])
        self._unsaid = [(number, read_tally(said)) for number, said in before.get("unsaid", ())]
        self._folding = Folding(executor, store, self.rounds, self.session.token)
        self._loaded: list[str] = []
        self._warned = False
        self.control = Control(self.session, store, self.snapshot, source)
        self._closed_at = self._started = self._cut_at = time.monotonic()

    def read(self, graph: Any, keys: Any, **kwargs: Any) -> Any:
        """Compute what somebody reads, and write it down before it is handed over.

        What was read before is handed back, but for what was too large to be written down.
        """
        reads = self.session.reads
        if self.session.retracing:
            first, found = reads.count, [reads.hand_back() for _ in _leaves(keys, keys)]
            if not any(value is AGAIN for value in found):
                return _nested(keys, iter(found))
            reads.count = first
        values = self.executor.get(graph, keys, **kwargs)
        self.session.collect_done()
        for value in _leaves(keys, values):
            reads.note(value)
        return values

    def drive(self, workflow: Workflow, bound: Any) -> None:
        """Run the workflow to its end, and write down how it ended."""
        try:
            with running(self.session), plain_errors(self.executor, self.store):
                with writing(self.store.folder):
                    self._join(bound)
                tell_run(self, bound.arguments.get("rounds"))
                self.control.start(bound.arguments.get("rounds"))
                self.control.begin_round(0)
                with closing(cast(_Rounds, workflow(*bound.args, **bound.kwargs))) as generator:
                    for yielded in generator:
                        with writing(self.store.folder):
                            self._end_round(yielded)
                        self.control.begin_round(self.yielded)
                self._check_end()
                with writing(self.store.folder):
                    self._finish()
        except NotStoredError:  # it is driven anew, from the beginning
            tell_state(self.session, "anew")
            self._let_go()
            raise
        except BaseException as error:
            if isinstance(error, FolderError) and self.past and self.past.fall_back(self._loaded):
                tell_state(self.session, "anew")
                self._let_go()
                raise OlderError from error
            # asked for fewer rounds, a run that was done has not failed
            unharmed = self._was_done and self.session.retracing
            self._give_up("done" if unharmed else status_after(error))
            raise
        finally:
            self.control.close()
            self.session.close()

    def _join(self, bound: Any) -> None:
        """Bring copies of the given populations and agents into the run."""
        copies: dict[int, Any] = {}
        about: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            bound.arguments[name] = self._copy(value, name, copies, about)
        self.store.describe(populations=about, shared=self.store.shared)

    def _copy(self, value: Any, name: str, copies: dict[int, Any], about: Any) -> Any:
        """Copy the populations, agents and environments in an argument; the same stay the same."""
        if isinstance(value, Environment):
            if id(value) not in copies:
                copies[id(value)] = own = start_of(value)
                self.session.enter_world(own, self.session.unique(name))
            return copies[id(value)]
        if isinstance(value, Named):
            return Named(self._copy(value._population, name, copies, about))
        if isinstance(value, list | tuple):
            inside = [self._copy(v, f"{name}[{i}]", copies, about) for i, v in enumerate(value)]
            return inside if isinstance(value, list) else tuple(inside)
        if isinstance(value, dict):
            return {k: self._copy(v, f"{name}[{k!r}]", copies, about) for k, v in value.items()}
        if not isinstance(value, Population):
            return value
        key = id(value._whole)
        if key not in copies:
            copies[key] = value._whole._copy()
            _, members = copies[key]._join(name.partition("[")[0], self.session)
            about[name] = members.describe()
        return copies[key] if value._rows is None else copies[key]._part(value._rows)

    def _end_round(self, yielded: Any) -> None:
        """Take what was yielded; close the rounds that are done, and wait for the oldest."""
        made = self.session.close_worlds()
        steps, self.session.steps = self.session.steps, []
        if self.session.retracing:
            self._retrace()
            return
        record = Record(self.session, self.store, self.yielded, steps, made)
        record.take(yielded)
        self.session.direct.clear()
        self.yielded += 1
        self.session.epoch = self.yielded
        self.pending.append(record)
        while self.pending and (len(self.pending) > self.ahead or self._is_done(self.pending[0])):
            self._close(self.pending[0])
        since = time.monotonic() - self._cut_at
        if self._pace.due(self.yielded - self._last_cut, since):
            self._close_all()  # not of the cost: the cluster is at work as long as this takes
            began = time.monotonic()
            with self.session.lock:
                self._checkpoint()
            self._cut_at = time.monotonic()
            self._pace.took(self._cut_at - began)

    def _retrace(self) -> None:
        """Pass over a round that is in the results; after the last one, go on from its blocks."""
        assert self.past is not None
        checkpoint = self.past.checkpoint
        assert checkpoint is not None
        self.yielded += 1
        self.session.epoch = self.yielded
        if self.yielded < checkpoint.round:
            return
        if self.session.count != checkpoint.steps:
            raise RunError(
                f"the workflow took {self.session.count} steps in the first {checkpoint.round}"
                f" rounds, and {checkpoint.steps} before; it goes another way than it did"
            )
        self.session.reads.count = checkpoint.reads
        blocks: list[Any] = []
        paths = [self.store.checkpoint(checkpoint.round, m.name, i) for m, i in self._every()]
        self._loaded = paths
        if not self.store.shared:
            blocks = [self.executor.scatter(tasks.load_state(path)) for path in paths]
        self._go_on_from([(path, "") for path in paths], blocks or [None] * len(paths))
        self.session.retracing = False

    def _check_end(self) -> None:
        """Raise a `RunError` if a workflow ends before the rounds are over that it has had."""
        if self.session.retracing:
            raise RunError(
                f"the workflow ends after {self.yielded} rounds, and has had {self.rounds.closed}"
                " before; ask for as many, or for more"
            )

    def _is_done(self, record: Record) -> bool:
        done = self.executor.done
        steps = all(step.results or done(step.bundles) for step in record.steps)
        return steps and done([made.result for made in record.made])

    def _close_all(self) -> None:
        while self.pending:
            self._close(self.pending[0])

    def _close(self, record: Record) -> None:
        """Wait for the oldest round that is open, and hand its pieces to the results."""
        told = [(step, self.session.collect(step)) for step in record.steps]
        record.wait_for_worlds()
        parts = [part for _, found in told for part in found]
        tally = Tally(each for part in parts for each in part.usage)
        usage = tally.total
        sources = record.sources(self.rounds)
        values = record.wait()
        now = time.monotonic()
        n_failed = sum(part.failed for part in parts)
        own = {
            "n_failed": n_failed,
            "calls": usage.calls,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
            "retries": usage.retries,
            "cost": usage.cost,
            "seconds_waiting": usage.waited,
            "seconds": now - self._closed_at,
        }
        if any(members.sends for members in self.session.members.values()):
            own["n_undelivered"] = sum(part.lost[0] for part in parts)
            self._warn_of_lost(parts)
        for name, value in values.items():
            self.rounds.add_value(name, value)
        for name, number in own.items():
            self.rounds.add_value(name, Value((), number))
        if self.heed is not None:
            self.heed(record.number, own["seconds"], told)
        self._alive.append(record.alive)
        if record.turnover:
            self._alive = add_alive(self.rounds, self._alive)
        self._add_models(tally)
        self.rounds.close(sources)
        del self.pending[0]
        self._closed_at = now
        self.usage = Tally((*self.usage, *tally))
        self.n_failed += n_failed
        self.replies += sum(step.addressed for step in record.steps)
        for step in record.steps:
            step.bundles = []
            self.session.count_no_more(step)
        remove({str(part.piece) for part in parts} - paths(sources))
        said = {name: value.data for name, value in values.items()}
        self.store.note("round", round=record.number, values=said, direct=record.direct(), **own)
        tell_round(self.session, record.number, own, said)
        self._folding.unpacked += [
            (step.number, self._accepted(step))
            for step in record.steps
            if any(part.attempt for part in step.results or ())
            or (self.past is not None and step.members.journaled)
        ]
        self.session.lazies.let_go(record.number)
        self._folding.look()

    def _warn_of_lost(self, parts: list[Part]) -> None:
        """Say once in a run that messages go to agents that do not exist."""
        lost = [part.lost for part in parts if part.lost[0]]
        if lost and not self._warned:
            self._warned = True
            _, to, sender = lost[0]
            _log.warning(
                "%d messages of round %d are to agents that do not exist (the first from agent %d"
                " to agent %d); all such are counted in n_undelivered",
                sum(count for count, _, _ in lost),
                self.rounds.closed,
                sender,
                to,
            )

    def _accepted(self, step: Step) -> dict[int, str]:
        """Return which attempt counts at each block of a step, as far as one wrote answers."""
        parts = zip(step.indexes, step.results or (), strict=True)
        found = {index: part.attempt for index, part in parts if part.attempt}
        return dict(self.session.accepted.get(step.number, {})) | found if self.past else found

    def _add_models(self, tally: Tally) -> None:
        """Say what each model took in each round, in a run that asks several."""
        self._unsaid.append((self.rounds.closed, tally))
        self._models |= {model for model, _, _ in tally if model}
        if len(self._models) < 2:
            return
        for number, each in self._unsaid:
            models = sorted({model for model, _, _ in each if model})
            sums = [sum((u for name, _, u in each if name == model), Usage()) for model in models]
            for name in ("calls", "tokens", "cost") if models else ():
                numbers = np.array([getattr(usage, name) for usage in sums])
                value = Value(("model",), numbers, {"model": models})
                self.rounds.add_value(f"{name}_by_model", value, number)
        self._unsaid.clear()

    def _checkpoint(self, *, last: bool = False) -> None:
        """Write all blocks, and go on from what was written, so that the past can be let go."""
        self._last_cut = self.yielded
        for members in self.session.members.values():
            members.newest(self.session)
        every = self._every()
        paths = [self.store.checkpoint(self.yielded, m.name, i) for m, i in every]
        rows = [
            (m.handles[i], path if self.store.shared else None, m.charter, *m.coming.pop(i, ()))
            for (m, i), path in zip(every, paths, strict=True)
        ]
        plan = plan_each(f"write-{self.session.token}-{self.yielded}", tasks.write_state, rows)
        written = self.executor.gather(self.executor.submit(plan))
        for versions in self.session.worlds.values():
            versions.checkpoint(self.store.checkpoint(self.yielded, versions.name))
        blocks: list[Any] = []
        for path, (block, _) in zip(paths, written, strict=True):
            if block is not None:
                tasks.write_state(block, path)
                block = self.executor.scatter(tasks.load_state(path))
            blocks.append(block)
        if not self.store.temporary:
            self._make_resumable()
        self.store.note("checkpoint", round=self.yielded)
        self.store.prune()
        if last:
            return
        where = [(path, address) for path, (_, address) in zip(paths, written, strict=True)]
        self._go_on_from(where, blocks)

    def _every(self) -> list[tuple[Members, int]]:
        """Return all blocks that have agents: of which population, and which."""
        members = self.session.members.values()
        return [(m, i) for m in members for i, h in enumerate(m.handles) if h is not None]

    def _go_on_from(self, where: list[tuple[str, str]], blocks: list[Any]) -> None:
        """Let the next steps go on from blocks that are written."""
        handles = self.executor.reload(where, blocks)
        for (m, i), handle in zip(self._every(), handles, strict=True):
            m.handles[i], m.away = handle, None
        self.session.cut_past(self.yielded)
        for versions in self.session.worlds.values():
            versions.go_on(self.store.checkpoint(self.yielded, versions.name))

    def _make_resumable(self) -> None:
        """Bring all rounds into the results, and write down what a run needs that goes on."""
        self._folding.all()
        state = {
            "round": self.yielded,
            "steps": self.session.count,
            "reads": self.session.reads.count,
            "tail": len(self.session.steps),
            "rounds": self.rounds.state(),
            "usage": self.usage.plain(),
            "n_failed": self.n_failed,
            "replies": self.replies,
            "models": sorted(self._models),
            "alive": self._alive,
            "unsaid": [(number, tally.plain()) for number, tally in self._unsaid],
        }
        self.store.bring_results()
        write_checkpoint(self.store.generation(self.yielded), state, sync=self.store.sync)

    def _finish(self) -> None:
        """End a run whose workflow has ended."""
        self._close_all()
        late = Record(self.session, self.store, self.yielded, [], self.session.close_worlds())
        late.wait_for_worlds()
        for step in self.session.steps:  # asked after the last yield: of no round, but they count
            self.session.collect(step)
            self.session.count_no_more(step)
        changed = self.session.steps or self._last_cut < max(self.yielded, 1)
        if changed and not self.store.temporary:
            self._checkpoint(last=True)
        self._folding.all()
        self.rounds.finish()
        self.store.bring_results()
        self.store.remove_pieces()
        self.executor.forget(str(self.store.folder))
        self.store.end("done", rounds=self.rounds.closed, usage=self._told())
        tell_state(self.session, "done")

    def _give_up(self, status: str) -> None:
        """Leave a readable run directory behind, whatever happened."""
        self.control.close()
        with suppress(Exception):  # what went wrong is being said already
            while self.pending and self._is_done(self.pending[0]):
                self._close(self.pending[0])
        self._let_go()
        try:
            self.rounds.write_values()
            for task in self.rounds.folds(last=True):
                fold(task)
            remove(self.rounds.folded())
            self.rounds.finish()
            self.store.note("unfinished", status=status)
        except (DaskAgentsError, OSError) as error:
            _log.warning("the last rounds could not be written into the results: %s", error)
        with suppress(Exception):
            self.executor.forget(str(self.store.folder))
        with suppress(RunError):
            self.store.end(status, rounds=self.rounds.closed, usage=self._told())
        tell_state(self.session, status)

    def _let_go(self) -> None:
        """Stop what is under way."""
        self.control.close()
        self.executor.judge = None
        steps = [*self.session.steps, *(step for record in self.pending for step in record.steps)]
        with suppress(Exception):
            self.executor.stop(self.session.topic)
            every = [(m, m.away) for m in self.session.members.values()]
            handles = [h for pair in every for m in pair if m is not None for h in m.handles]
            handles += [handle for s in steps for handle in s.bundles]
            self.executor.cancel([h for h in handles if h is not None and h is not LOST])
            self.executor.gather(self._folding.under_way or [])

    def _told(self) -> list[dict[str, Any]]:
        """Return what each model took at each endpoint, for ``run.json``."""
        return [
            {"model": model, "endpoint": endpoint, **_known(asdict(usage))}
            for model, endpoint, usage in self.usage
        ]

    def snapshot(self) -> Snapshot:
        """Say how far the run is."""
        session, closed, total = self.session, self.rounds.closed, self.usage.total
        rounds = [*(record.steps for record in list(self.pending)), list(session.steps)]
        usual = self.replies / max(closed, 1)
        heard = heard_of(rounds, session.live.copy(), session._parts_heard.copy(), usual)
        return Snapshot(
            closed,
            self.replies + heard.replies,
            total.calls + heard.calls,
            total.tokens + heard.tokens,
            self.n_failed + heard.failed,
            time.monotonic() - self._started,
            total.cost + heard.cost,
            closed + heard.parts,
            {} if session.budget is None else session.budget.limits,
            self.control.state,
        )


def _leaves(keys: Any, values: Any) -> Iterator[Any]:
    """Yield the values that belong to nested keys."""
    if isinstance(keys, list):
        for key, value in zip(keys, values, strict=True):
            yield from _leaves(key, value)
    else:
        yield values


def _nested(keys: Any, values: Iterator[Any]) -> Any:
    """Return values nested as keys are."""
    return [_nested(key, values) for key in keys] if isinstance(keys, list) else next(values)


def _known(numbers: dict[str, Any]) -> dict[str, Any]:
    """Return numbers as JSON has them: None for NaN."""
    return {name: None if number != number else number for name, number in numbers.items()}
