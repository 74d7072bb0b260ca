"""A session: one place where tasks run, one seed, one count of steps; a run, or a notebook."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from dask.array.core import Array
from numpy.typing import NDArray

from daskagents import tasks
from daskagents.agent import Agent, behaviour
from daskagents.block import Call, Charter, Said
from daskagents.columns import Column
from daskagents.environments.base import Branch, Environment, give_seat, start_of
from daskagents.environments.describing import describe_realm
from daskagents.environments.versions import Made, Versions, make_versions
from daskagents.errors import NotStoredError, RunError, UsageError
from daskagents.exchange import exchange
from daskagents.executors import Executor
from daskagents.forms import Form, declared_form
from daskagents.journal.attempt import Journaling
from daskagents.lazies import ORIGIN, Lazies
from daskagents.members import Members, Step, digest_of_rows
from daskagents.models.base import Model
from daskagents.models.budget import Budget
from daskagents.models.describe import describe_model
from daskagents.models.stack import stack
from daskagents.monitor.news import tell_apart, tell_step
from daskagents.past import LOST, Past
from daskagents.plan import BlockCall, plan_blocks, plan_each, plan_step
from daskagents.reads import AGAIN, Reads
from daskagents.store import Store
from daskagents.strikes import Strikes
from daskagents.tasks import Part, Place
from daskagents.usage import Usage

_log = logging.getLogger("daskagents")

#: Fraction of agents that may fail in a step.
MAX_FAILED = 0.01
#: Bytes of given columns that travel in the graph itself.
_SMALL = 1 << 16


class Session:
    """Keeps count of the steps and of what they left, for populations that work together.

    Parameters
    ----------
    executor
        Where tasks run.
    seed
        What all randomness follows from.
    model
        What agents ask whose population has no model of its own.
    store
        The run directory; None keeps nothing.
    max_failed
        Largest fraction of the addressed agents that may fail in a step.
    budget
        What all models may spend together.
    spent
        What was spent of it before.
    past
        What the run did before, of one that goes on. As long as `retracing` holds, steps are not
        run but compared with it.
    journal
        Returns how answers are written down, given the token of this session.
    accepted
        The attempts whose answers counted before, by step and block.

    """

    def __init__(
        self,
        executor: Executor,
        *,
        seed: int = 0,
        model: Model | None = None,
        store: Store | None = None,
        max_failed: float = MAX_FAILED,
        budget: Budget | None = None,
        spent: Usage | None = None,
        past: Past | None = None,
        journal: Callable[[str], Journaling] | None = None,
        accepted: Mapping[int, Mapping[int, str]] | None = None,
    ) -> None:
        self.executor, self.seed, self.model, self.store = executor, seed, model, store
        self.max_failed, self.budget, self.spent = max_failed, budget, spent
        self.past, self.retracing = past, past is not None and past.round > 0
        self.token = uuid.uuid4().hex[:10]
        self._journal, self.accepted = journal and journal(self.token), accepted or {}
        self.members: dict[str, Members] = {}
        self.worlds: dict[str, Versions] = {}
        self.made: list[Made] = []
        self.told = 0
        self.steps: list[Step] = []
        self.count = self.lives = 0
        self.live: dict[tuple[int, int], tuple[int, int, Usage]] = {}
        self.forms: dict[tuple[type[Agent], str], Form] = {}
        self.direct: dict[str, tuple[Step, str]] = {}
        self.epoch = self.cut = self.generation = 0
        self.lazies = Lazies(self)
        self._forms_heard: dict[int, Form] = {}
        self._parts_heard: dict[tuple[int, int], Part] = {}
        self._under_way: dict[int, Step] = {}
        self._news = threading.Condition()
        #: Who has it may count on it that no step is being submitted.
        self.lock = threading.RLock()
        #: Passed before each step: it may wait, or raise an error.
        self.gate: Callable[[], None] = pass_through
        self.held = False
        self.closed = False
        self.reads = Reads(store, past)
        self._addressed: dict[int, list[int]] = {}
        self._strikes = Strikes(self._block_of, () if past is None else past.apart)
        self._open = ExitStack()
        self._open.enter_context(executor.keeping(self.topic))
        self._open.enter_context(executor.hearing(self.topic, self._hear))
        if self._strikes.apart:
            executor.keep_apart(self.topic, self._strikes.apart)
        executor.judge = self._judge

    @property
    def topic(self) -> str:
        """What the tasks of this session tell their news under."""
        return f"daskagents-{self.token}"

    def close(self) -> None:
        """Stop listening, and let go of all results, which would stay as long as this object."""
        self.closed = True
        self.executor.judge = None
        self.executor.finish_telling()
        self._open.close()
        for members in self.members.values():
            members.handles.clear()
            members.charter = members.away = None
            members.coming.clear()
        self.lazies.clear()
        self.worlds.clear()
        self.made.clear()
        self.direct.clear()
        self.steps.clear()

    def _hear(self, news: Any) -> None:
        if "at" not in news:  # what we have told ourselves
            return
        with self._news:
            step, index = news["at"]
            if "form" in news:
                kinds = tuple((name, kind) for name, kind in news["form"])
                self._forms_heard[step] = Form(kinds)
            elif step in self._under_way and "part" in news:
                self._parts_heard[step, index] = tasks.read_part(news["part"])
            elif step in self._under_way and "done" in news:
                done, failed, *usage = news["done"]
                self.live[step, index] = (done, failed, Usage(*usage))
            self._news.notify_all()

    def _judge(self, lost: set[Any]) -> bool:
        """Say whether to try again what was lost with one worker after another; mark its blocks.

        Who has killed the workers is not known: it may be whoever was on them at the same time.
        """
        found = self._strikes.judge(sorted(lost, key=str))
        if found is None:
            return False
        for name, index in found:
            _log.warning(
                "block %d of %r was lost with worker after worker; its agents are now run in"
                " processes of their own",
                index,
                name,
            )
            if self.store is not None:
                self.store.note("apart", population=name, block=index)
        if found:
            self.executor.keep_apart(self.topic, self._strikes.apart)
            tell_apart(self, found)
        return True

    def _block_of(self, task: Any) -> tuple[str, int] | None:
        """Return the block whose agents a task runs: of which population, and which."""
        if not isinstance(task, tuple) or len(task) != 2:
            return None
        match = ORIGIN.fullmatch(str(task[0]))
        if match is None or match[1] != "step" or not str(task[0]).endswith(self.token):
            return None
        indexes = self._addressed.get(int(match[3]))  # none, of a step of before a checkpoint
        return None if indexes is None else (match[2], indexes[task[1]])

    def cut_past(self, generation: int) -> None:
        """Say that all blocks are roots from here on, and what came before is not made again."""
        self.cut, self.generation = self.count, generation
        self._addressed.clear()

    def unique(self, name: str) -> str:
        """Return a name that no population and no environment of this session has."""
        taken, number = name, 1
        while taken in self.members or taken in self.worlds:
            number += 1
            taken = f"{name}-{number}"
        return taken

    def enter(
        self,
        cls: type[Agent],
        name: str,
        dim: str,
        bounds: NDArray[np.int64],
        frame: xr.Dataset,
        columns: dict[str, Column],
        model: Model | None,
    ) -> Members:
        """Bring a population in: plan its first blocks."""
        asked = model if model is not None else self.model
        asked = asked and stack(asked, self.budget, self.spent)
        charter = Charter(cls, name, self.seed, asked)
        blob = self.executor.seal(charter)
        (handle,) = self.executor.submit(
            plan_each(f"charter-{self.token}-{name}", tasks.same, [(blob,)])
        )
        given = self.given(name, bounds, columns)
        handles: list[Any] = [LOST] * (len(bounds) - 1)
        if not self.retracing:
            plan = plan_blocks(f"begin-{self.token}-{name}", handle, bounds.tolist(), given)
            handles = self.executor.submit(plan)
        said = describe_model(model and asked)
        members = Members(cls, name, dim, bounds, frame, blob, handle, handles, said)
        members.journaled = asked is not None and self._needs_journal(asked)
        self.members[name] = members
        return members

    def _needs_journal(self, model: Model) -> bool:
        """Whether answers are to be kept, or replayed: not where they come again by themselves."""
        if self._journal is None or self.store is None:
            return False
        return bool(self._journal.source) or not (self.store.temporary and model.repeats)

    def given(
        self,
        name: str,
        bounds: NDArray[np.int64],
        columns: Mapping[str, Column],
        index: int = 0,
        folder: str = "",
    ) -> list[Any]:
        """Return, per block, where its given columns are: on disk, or sent.

        They are written into a folder of their own, if they are large, where agents enter later:
        then `index` is the number of the first block.
        """
        if not columns:
            return [None] * (len(bounds) - 1)
        parts: list[Any] = []
        for at, (first, end) in enumerate(pairwise(bounds.tolist())):
            rows = slice(first - int(bounds[0]), end - int(bounds[0]))
            part = {field: column.take(rows) for field, column in columns.items()}
            light = sum(column.nbytes for column in part.values()) < _SMALL
            if self.store is not None and self.store.shared and not (folder and light):
                where = folder or "populations"
                parts.append(self.store.write_given(name, index + at, first, end, part, where))
            elif light:
                parts.append(part)
            else:
                parts.append(self.executor.scatter(part))
        return parts

    def step(
        self,
        members: Members,
        rows: NDArray[np.int64] | None,
        method: str,
        heards: Sequence[Any],
        *,
        named: bool = False,
        digest: str = "",
        env: Branch | None = None,
        play: Any = None,
    ) -> Step:
        """Submit one step; `heards` has a message or its handle for each addressed block.

        `play` is the scene of a step of groups, which do that in place of a method.
        """
        self.gate()
        with self.lock:
            return self._step(members, rows, method, heards, named, digest, env, play)

    def _step(
        self,
        members: Members,
        rows: NDArray[np.int64] | None,
        method: str,
        heards: Sequence[Any],
        named: bool,
        digest: str,
        env: Branch | None,
        play: Any,
    ) -> Step:
        function = play or behaviour(members.cls, method)
        key = (members.cls, method)
        members.named = members.named or named
        form = self.forms.get(key) or declared_form(function) or self._past_form(members, method)
        indexes, counts, masks = members.address(rows)
        if form is None and not indexes:
            raise UsageError(
                f"nobody is asked for {members.cls.__name__}.{method}, and what it replies is not"
                f" known yet; declare it: def {method}(self, message) -> float"
            )
        visit = None if env is None else self.world(env.whole).visit(env, members.cls, play)
        step = Step(self.count, members, method, rows, indexes, counts, masks, form)
        self.count += 1
        members.version += 1
        if play is None:  # scenes are not run apart
            self._addressed[step.number] = indexes
        said = {
            "population": members.name,
            "method": method,
            "agents": step.addressed,
            "input": digest,
        }
        if rows is not None:
            said["who"] = digest_of_rows(indexes, masks)
        if visit is not None:
            said["env"] = visit.name
        if self.past is not None:
            self.past.check_step(step.number, said)
        if self.retracing:
            if visit is not None:
                visit.end(step.number, [])
            return step
        if self.store is not None:
            self._under_way[step.number] = step
            self.store.note("step", step=step.number, round=self.epoch, **said)
            tell_step(self, step, self.epoch)
        step.scene = members.scene_of(self, play)
        handles = members.begin(self)
        calls = [
            BlockCall(
                index,
                handles[index],
                heard,
                mask,
                None if visit is None else visit.seen,
                () if visit is None else visit.sent,
                members.coming.pop(index, ()),
            )
            for index, heard, mask in zip(indexes, heards, masks, strict=True)
        ]
        started = 0
        while step.form is None and started < len(calls) and not named:
            self._start(step, calls[started : started + 1], started)
            started += 1
            step.form = self._first_form(step)
        self._start(step, calls[started:], started)
        if step.form is None and not named:  # nobody replied at all
            self.collect(step)
            raise RunError(f"{self._where(step)}: no agent replied")
        if step.form is not None and key not in self.forms:
            self.forms[key] = step.form
            if self.store is not None:
                name = members.cls.__qualname__
                self.store.note("form", cls=name, method=method, kinds=step.form.kinds)
        if self.store is not None:  # outside a run nobody closes rounds: nothing is kept
            self.steps.append(step)
        if visit is not None:
            visit.end(step.number, step.bundles)
        if members.sends:
            exchange(self, members.agents, step.bundles, step.number)
        return step

    def world(self, env: Environment) -> Versions:
        """Return the versions of an environment, and bring it in if it is new here."""
        seat = env._seat
        if seat is None or seat.session is not self:
            name = self.unique(type(env).__name__.lower())
            seat = self.enter_world(env, name)
        return seat  # type: ignore[no-any-return]

    def enter_world(self, env: Environment, name: str) -> Versions:
        """Bring an environment in, from its first values."""
        seat = make_versions(self, name, start_of(env))
        self.worlds[name] = seat
        give_seat(env, seat)
        if self.store is not None:
            self.store.describe_world(name, describe_realm(seat.realm))
        return seat

    def close_worlds(self) -> list[Made]:
        """Make the versions that wait for no more steps; return those made since the last time."""
        for versions in self.worlds.values():
            versions.close()
        made, self.made = self.made, []
        return made

    def _past_form(self, members: Members, method: str) -> Form | None:
        """Return the form of replies that a run that goes on has seen before."""
        if self.past is None:
            return None
        return self.past.forms.get((members.cls.__qualname__, method))

    def _start(self, step: Step, calls: Sequence[BlockCall], offset: int) -> None:
        """Submit the tasks of some blocks of a step."""
        if not calls:
            return
        folder, shared = (None, True) if self.store is None else self.store.place
        agents = step.members.agents
        plan = plan_step(
            self.name_of(step),
            step.members.charter,
            calls,
            Call(
                step.number,
                step.method,
                step.form,
                step.scene,
                agents.n,
                agents.lives.packed if agents.sends else None,
                agents.sends,
            ),
            Place(
                self.topic,
                step.number,
                0,
                folder,
                shared,
                self._journal_of(step, shared),
                most=int(self.max_failed * step.addressed),
            ),
            offset,
        )
        bundles = self.executor.submit(plan)
        for call, bundle in zip(calls, bundles, strict=True):
            step.members.handles[call.index] = bundle
        step.bundles += bundles

    def _journal_of(self, step: Step, shared: bool) -> Journaling | None:
        """Return how the answers that a step gets are written down; None where they are not."""
        if self._journal is None or not shared or not step.members.journaled:
            return None
        settled = self.past is not None and step.number in self.past.done
        accepted = self.accepted.get(step.number, {})
        return replace(self._journal, settled=settled, accepted=accepted)

    def journal_outside(self, members: Members) -> Journaling | None:
        """Return how answers to questions from outside are written down."""
        journal, store = self._journal, self.store
        if journal is None or store is None or not store.shared or not members.journaled:
            return None
        return replace(journal, settled=False, accepted={}, source="") if journal.folder else None

    def name_of(self, step: Step) -> str:
        """Return the name of the array whose chunks are the results of a step."""
        return f"step-{step.members.name}-{step.number}-{self.token}"

    def _first_form(self, step: Step) -> Form | None:
        """Wait for the first row's reply of the block that was started last; return its form."""
        at = len(step.bundles) - 1
        while True:
            with self._news:
                heard = self._forms_heard.pop(step.number, None)
                if heard is None and not self.executor.done(step.bundles[at:]):
                    self._news.wait(0.02)
                    continue
            if heard is not None:
                return heard
            (result,) = self._parts(step, [at])
            return result.form

    def collect(self, step: Step) -> list[Part]:
        """Wait for a step and return what happened in each block; a `RunError` if too many failed.

        What its tasks could not write where they are is written here.
        """
        if step.results is None:
            step.results = self._parts(step, range(len(step.bundles)))
            with self._news:
                self._under_way.pop(step.number, None)
                for index in step.indexes:
                    self._parts_heard.pop((step.number, index), None)
        failed = sum(part.failed for part in step.results)
        if failed > self.max_failed * step.addressed:
            raise RunError(self._too_many(step, failed))
        if self.store is not None and not step.kept:
            # not before: what failed in a step that stops the run is tried anew when it goes on
            self.store.keep_pieces(step.number, step.indexes, step.results)
            step.kept = True
        return step.results

    def collect_done(self) -> None:
        """Collect the steps that are over, as somebody reads a value that may be made of them.

        So they are done when the run goes on: agents that failed in them are not tried anew,
        which would make another value of it. And a `RunError` comes before a value that is no use.
        """
        for number in sorted(self._under_way):
            step = self._under_way[number]
            if self.executor.well(step.bundles):
                self.collect(step)

    def _parts(self, step: Step, places: Sequence[int]) -> list[Part]:
        """Wait for some blocks of a step; return what they told of themselves, or are asked for."""
        bundles = [step.bundles[at] for at in places]
        self.executor.wait(bundles)
        with self._news:
            parts = [self._parts_heard.get((step.number, step.indexes[at])) for at in places]
        silent = [at for at, part in enumerate(parts) if part is None]
        if silent:  # nothing was told outside a run, or it was lost with a connection
            name = f"part-{self.name_of(step)}-{places[silent[0]]}"
            plan = plan_each(name, tasks.part_of, [(bundles[at],) for at in silent])
            for at, part in zip(
                silent, self.executor.gather(self.executor.submit(plan)), strict=True
            ):
                parts[at] = part
        return [part for part in parts if part is not None]

    def _too_many(self, step: Step, failed: int) -> str:
        parts = step.results or []
        first = next(part.first_failure for part in parts if part.first_failure is not None)
        said, which = first.among(failed, step.addressed)
        return f"{self._where(step)}: {said}, and max_failed is {self.max_failed:g}; {which}"

    def _where(self, step: Step) -> str:
        return f"step {step.number} ({step.members.name}.{step.method})"

    def count_no_more(self, step: Step) -> None:
        """Forget how far a step was: it is counted with its round."""
        for index in step.indexes:
            self.live.pop((step.number, index), None)

    def remember(self, array: Array, step: Step, name: str) -> None:
        """Remember that an array is a step's replies of one name, as its tasks write them."""
        if self.store is not None:
            self.direct[array.name] = (step, name)

    def read_said(self, said: Any) -> Said:
        """Wait for what a named agent said, and write down that the workflow read it."""
        if self.retracing:
            before = self.reads.hand_back()
            if before is AGAIN:
                raise NotStoredError
            return Said(before["content"], failure=before["failure"])
        (found,) = self.executor.gather([said])
        try:
            self.collect_done()
        except RunError:
            if found.failure:  # of which the workflow hears first; it is tried anew when it goes on
                return found  # type: ignore[no-any-return]
            raise
        self.reads.note({"content": found.content, "failure": found.failure})
        return found  # type: ignore[no-any-return]

    def said(self, step: Step, name: str) -> Any:
        """Return a handle of what a named agent says in a step."""
        if self.retracing:
            return LOST
        plan = plan_each(f"said-{self.name_of(step)}", tasks.said, [(step.bundles[0], name)])
        return self.executor.submit(plan)[0]


def pass_through() -> None:
    """Let each step pass, where nobody steers."""
