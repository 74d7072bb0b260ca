"""What was heard of one run: sums, counts and sketches, nothing of any one agent. Knows no Dask."""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any, Literal

from daskagents.monitor.sketch import Counts, Numbers, Sketch, merge, read_sketch
from daskagents.usage import Tally, Usage, read_tally

State = Literal["waiting", "running", "done", "failed", "apart"]

#: Steps whose blocks are kept one by one; rounds and variables that are kept; points of a line.
STEPS, ROUNDS, VARIABLES, POINTS = 40, 600, 48, 1200
#: Blocks of steps that are kept in all, and those that the scheduler is asked about at once.
_CELLS, _LOOKS = 200_000, 10_000
#: Sketches of one round that are held before they are merged.
_HELD = 64
#: Rounds whose sketches are kept whole, and texts that are counted in older ones.
_WHOLE, _TEXTS = 3, 12
#: Seconds between two points of a line; and over which a rate is taken.
TICK, SPAN = 0.5, 5.0
#: States of a run that has not ended.
OPEN = frozenset({"starting", "running", "paused", "stopping"})
#: Quantiles of the bands.
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(slots=True)
class Cell:
    """One block in one step."""

    state: State = "waiting"
    worker: str = ""
    seconds: float = 0.0
    rows: int = 0
    failed: int = 0


@dataclass
class StepSeen:
    """One step: which blocks it asks, and how far each is."""

    number: int
    population: str = ""
    method: str = ""
    agents: int = 0
    round: int | None = None
    blocks: list[int] | None = None
    cells: dict[int, Cell] = field(default_factory=dict)
    began: float = 0.0
    waiting: list[Any] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether nothing more is to come of it."""
        known = self.blocks is not None and len(self.cells) >= len(self.blocks)
        return known and all(cell.state in ("done", "apart") for cell in self.cells.values())

    @property
    def median(self) -> float | None:
        """Seconds of a block that is done, usually."""
        found = [c.seconds for c in self.cells.values() if c.state in ("done", "apart")]
        return statistics.median(found) if found else None

    def label(self) -> str:
        """Return what was asked of whom."""
        return f"{self.population}.{self.method}" if self.population else f"step {self.number}"


@dataclass(frozen=True, slots=True)
class Band:
    """One round of a variable, in short: of numbers their quantiles, of texts their counts."""

    round: int
    count: int
    missing: int
    mean: float
    low: float
    high: float
    quantiles: tuple[float, ...]
    top: Mapping[str, float]
    others: float
    sampled: bool


def band_of(number: int, sketch: Sketch) -> Band:
    """Return a round of a variable in short."""
    if isinstance(sketch, Numbers):
        points = tuple(sketch.quantile(share) for share in SHARES)
        ends = sketch.mean, sketch.low, sketch.high
        return Band(number, sketch.count, sketch.missing, *ends, points, {}, 0.0, sketch.sampled)
    top = dict(list(sketch.top.items())[:_TEXTS])
    others = sketch.count - sum(top.values())
    none = float("nan")
    return Band(
        number, sketch.count, sketch.missing, none, none, none, (), top, others, sketch.sampled
    )


@dataclass
class Variable:
    """What is replied under one name, round after round."""

    name: str
    population: str
    kind: str
    held: dict[int, list[Sketch]] = field(default_factory=dict)
    old: dict[int, Band] = field(default_factory=dict)

    def add(self, number: int, sketch: Sketch) -> None:
        """Take what one block replied in a round."""
        if number in self.old and number not in self.held:
            return  # of a block that was lost and is made again
        held = self.held.setdefault(number, [])
        if held and type(held[0]) is not type(sketch):
            return
        held.append(sketch)
        if len(held) >= _HELD:
            self.held[number] = [merge(held)]
        if len(self.held) > _WHOLE:
            oldest = min(self.held)
            self.old[oldest] = band_of(oldest, merge(self.held.pop(oldest)))
            if len(self.old) > ROUNDS:  # half of the older ones will do
                for each in sorted(self.old)[1 : ROUNDS // 2 : 2]:
                    del self.old[each]

    def newest(self, complete: int = -1) -> tuple[int, Sketch] | None:
        """Return the newest round that is complete, if any is kept, else the newest; merged."""
        if not self.held:
            return None
        number = max((n for n in self.held if n <= complete), default=max(self.held))
        self.held[number] = [merge(self.held[number])]
        return number, self.held[number][0]

    def bands(self) -> list[Band]:
        """Return all rounds that are kept, in short."""
        new = {number: band_of(number, merge(held)) for number, held in self.held.items()}
        return [band for _, band in sorted((self.old | new).items())]


@dataclass
class RunSeen:
    """One run, as it was heard.

    Parameters
    ----------
    topic
        What it tells its news under.
    """

    topic: str
    about: dict[str, Any] = field(default_factory=dict)
    state: str = "starting"
    began: float = field(default_factory=time)
    ended: float | None = None
    client: str = ""
    steps: dict[int, StepSeen] = field(default_factory=dict)
    first_step: int = 0
    closed: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=20))
    values: dict[str, float] = field(default_factory=dict)
    replies: int = 0
    failed: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    usage: Tally = field(default_factory=Tally)
    spent: Usage = field(default_factory=Usage)
    replies_by: Counter[str] = field(default_factory=Counter)
    calls_by: Counter[str] = field(default_factory=Counter)
    live: dict[tuple[int, int], tuple[int, int, Usage]] = field(default_factory=dict)
    variables: dict[tuple[str, str], Variable] = field(default_factory=dict)
    line: list[tuple[float, int, int, int, float, int]] = field(default_factory=list)
    stride: int = 1
    apart: set[tuple[str, int]] = field(default_factory=set)
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    purse: dict[str, tuple[float, float]] = field(default_factory=dict)
    version: int = 0

    @property
    def token(self) -> str:
        """The id of the run, which its tasks have in their keys."""
        return self.topic.removeprefix("daskagents-")

    @property
    def open(self) -> bool:
        """Whether the run has not ended."""
        return self.state in OPEN

    @property
    def workflow(self) -> str:
        """The name of its workflow."""
        return str(self.about.get("workflow", {}).get("name") or "a run")

    @property
    def rounds(self) -> int | None:
        """How many rounds there will be, where that is known."""
        known = self.about.get("rounds")
        return known if isinstance(known, int) and known > 0 else None

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take a message of the run's topic."""
        self.version += 1
        if "at" in message:
            self._hear_block(message)
        if "run" in message:
            self.about = dict(message["run"])
            self.state = "running" if self.state == "starting" else self.state
            self.closed = int(self.about.get("closed", 0))
        if "step" in message:
            self._hear_step(message["step"])
        if "round" in message:
            self._hear_round(message["round"])
        if "apart" in message:
            self.apart |= {(name, index) for name, index in message["apart"]}
        if "state" in message:
            self.state = str(message["state"])
            self.ended = None if self.open else time()
            if not self.open:
                self.live.clear()

    def lose(self) -> None:
        """Note that the client of the run is gone."""
        if self.open:
            self.hear({"state": "lost"})

    def _step(self, number: int) -> StepSeen | None:
        """Return a step; None for one that is kept no more."""
        if number < self.first_step:
            return None
        if number not in self.steps:
            self.steps[number] = StepSeen(number, began=time())
            kept = sorted(self.steps)
            largest = max(len(step.cells) for step in self.steps.values())
            room = max(4, min(STEPS, _CELLS // max(largest, 1)))
            for old in kept[:-room]:
                if not self.steps[old].over and old > kept[-1] - 4 * room:
                    break
                self.first_step = old + 1
                self._settle(self.steps.pop(old))
        return self.steps[number]

    def _hear_step(self, said: Mapping[str, Any]) -> None:
        step = self._step(int(said["number"]))
        if step is None:
            return
        step.population, step.method = str(said["population"]), str(said["method"])
        step.agents, step.round = int(said["agents"]), int(said["round"])
        blocks = said["blocks"]
        step.blocks = list(range(blocks)) if isinstance(blocks, int) else list(blocks)
        for index in step.blocks:
            step.cells.setdefault(index, Cell())
        self._settle(step)

    def _hear_block(self, message: Mapping[str, Any]) -> None:
        number, index = message["at"]
        step = self._step(number)
        if step is None:
            return
        cell = step.cells.setdefault(index, Cell())
        cell.worker = str(message.get("worker") or cell.worker)
        if "done" in message and cell.state not in ("done", "apart"):
            cell.state = "running"
            done, failed, *usage = message["done"]
            self.live[number, index] = (done, failed, Usage(*usage))
        if "sketch" in message:
            self._hear_sketch(step, index, cell, message["sketch"])

    def _hear_sketch(self, step: StepSeen, index: int, cell: Cell, said: Mapping[str, Any]) -> None:
        self.live.pop((step.number, index), None)
        if cell.state in ("done", "apart"):  # made again: it is counted already
            return
        tally = read_tally(said["usage"])
        cell.state = "apart" if said.get("apart") else "done"
        cell.seconds, cell.rows, cell.failed = said["seconds"], said["rows"], said["failed"]
        self.replies += cell.rows
        self.failed += cell.failed
        self.failures.update(said["failures"])
        self.usage = Tally((*self.usage, *tally))
        self.spent += tally.total
        self.replies_by[cell.worker] += cell.rows
        self.calls_by[cell.worker] += tally.total.calls
        step.waiting += [(name, plain) for name, plain in said["replies"].items()]
        self._settle(step)

    def _settle(self, step: StepSeen) -> None:
        """Put sketches where they belong, once it is known in which round their step is."""
        if step.round is None:
            return
        for name, plain in step.waiting:
            key = step.population, name or step.method
            if key not in self.variables and len(self.variables) >= VARIABLES:
                continue
            variable = self.variables.setdefault(key, Variable(key[1], key[0], plain["kind"]))
            variable.add(step.round, read_sketch(plain))
        step.waiting = []

    def _hear_round(self, said: Mapping[str, Any]) -> None:
        self.closed = max(self.closed, int(said["number"]) + 1)
        self.seconds.append(float(said["seconds"]))
        self.values = dict(said.get("values", {}))

    def totals(self) -> tuple[int, int, int, float, int]:
        """Return replies, calls, tokens, cost and failures so far, with steps under way."""
        live = [*self.live.values()]
        usage = sum((u for _, _, u in live), self.spent)
        return (
            self.replies + sum(done for done, _, _ in live),
            usage.calls,
            usage.tokens,
            usage.cost,
            self.failed + sum(failed for _, failed, _ in live),
        )

    def note(self, *, force: bool = False) -> bool:
        """Add a point to the lines, if it is time; return whether it was."""
        now = time()
        if self.line and now - self.line[-1][0] < TICK * self.stride and not force:
            return False
        self.line.append((now, *self.totals()))
        if len(self.line) > POINTS:
            self.line = self.line[::2]
            self.stride *= 2
        return True

    def rates(self, now: float | None = None) -> tuple[float, float, float]:
        """Return replies, calls and tokens a second, lately."""
        if not self.line or not self.open:
            return 0.0, 0.0, 0.0
        now = time() if now is None else now
        span = max(SPAN, 2 * TICK * self.stride)
        before = next((p for p in self.line if p[0] >= now - span), self.line[-1])
        passed = max(now - before[0], TICK)
        each = zip(self.totals()[:3], before[1:4], strict=True)
        replies, calls, tokens = (max(0.0, (new - old) / passed) for new, old in each)
        return replies, calls, tokens

    def history(self) -> Iterator[tuple[float, float, float, float]]:
        """Yield seconds since the start, and replies, calls and tokens a second, at each point."""
        points = self.line
        reach = max(1, int(2 / TICK / self.stride))
        for at in range(1, len(points)):
            old, new = points[max(0, at - reach)], points[at]
            passed = max(new[0] - old[0], TICK)
            replies, calls, tokens = ((new[i] - old[i]) / passed for i in (1, 2, 3))
            yield new[0] - self.began, replies, calls, tokens

    def left(self) -> float | None:
        """Return the seconds that the rounds to come will take, about; None where nobody knows."""
        if not self.open or self.rounds is None or not self.seconds:
            return None
        return max(0, self.rounds - self.closed) * statistics.fmean(self.seconds)

    def limits(self) -> dict[str, tuple[float, float]]:
        """Return what was spent of each thing that is limited, and the limit."""
        known = self.about.get("budget") or {}
        spent = {"calls": self.totals()[1], "tokens": self.totals()[2], "cost": self.totals()[3]}
        said = {name: (float(spent.get(name, 0)), float(known[name])) for name in known}
        return said | self.purse


def wanted(steps: Iterable[StepSeen]) -> Iterator[tuple[StepSeen, int, int, Cell]]:
    """Yield blocks of which the scheduler knows more: step, place, block, and what is known.

    Not of too many at once, as it is asked on its event loop: those of the oldest steps.
    """
    looks = 0
    for step in steps:
        for place, index in enumerate(step.blocks or () if looks < _LOOKS else ()):
            cell = step.cells.get(index)
            if cell is not None and cell.state not in ("done", "apart"):
                looks += 1
                yield step, place, index, cell


__all__ = ["Band", "Cell", "Counts", "Numbers", "RunSeen", "StepSeen", "Variable", "wanted"]
