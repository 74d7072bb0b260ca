"""What a run will take: found by a pilot, a short run of a few agents."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import UsageError
from daskagents.models.chosen import as_model
from daskagents.population import Population
from daskagents.running import Settings, execute
from daskagents.sampling import stratified
from daskagents.usage import Usage
from daskagents.workflow import Workflow, bind

#: Rounds of a pilot: the first differs from those that follow, whose prompts grow.
_ROUNDS = 2
#: Of the replies of a pilot, those that may fail: it says how many did.
_MAX_FAILED = 0.5
#: What is predicted, of a `Usage`.
_NAMES = ("calls", "prompt_tokens", "completion_tokens", "cost")


#: From where on numbers are shown without a fraction.
_WHOLE = 100


class Interval(NamedTuple):
    """A prediction: the likely value, between a low and a high one."""

    low: float
    likely: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.likely):
            return "not known: a model has no price"
        low, likely, high = (
            f"{number:,.0f}" if number >= _WHOLE or number == 0 else f"{number:.3g}"
            for number in self
        )
        return f"{likely} ({low} to {high})"


class _Pilot:
    """The populations of a pilot in place of those of the run."""

    def __init__(self, n: int, seed: int) -> None:
        self._n, self._seed = n, seed
        self._made: dict[int, Population] = {}
        #: How many agents the frame of a population in the pilot stands for.
        self.sizes: dict[int, int] = {}
        #: Blocks of the run for one of the pilot, where all agents have a block of their own.
        self.share = 1.0

    def instead(self, value: Any) -> Any:
        """Return an argument of the workflow with its populations replaced."""
        if isinstance(value, list | tuple):
            return type(value)(map(self.instead, value))
        if isinstance(value, dict):
            return {key: self.instead(inner) for key, inner in value.items()}
        if not isinstance(value, Population):
            return value
        if id(value) not in self._made:
            made = self._made[id(value)] = value._sample(stratified(value, self._n, self._seed))
            self.sizes[id(made._frame)] = len(value)
            self.share = min(self.share, (len(value._whole.bounds) - 1) / len(made))
        return self._made[id(value)]


@dataclass(frozen=True)
class Estimate:
    """What a run will take, and what the pilot took that found it out.

    Parameters
    ----------
    calls, prompt_tokens, completion_tokens, cost
        Of the whole run; the cost in the currency of the prices, NaN where one is not known.
    seconds
        From as many calls at a time as endpoints may be asked for to as many as in the pilot.
    agents, rounds
        Of the whole run.
    pilot
        What the pilot took.
    failed
        Replies of the pilot that failed.
    """

    calls: Interval
    prompt_tokens: Interval
    completion_tokens: Interval
    cost: Interval
    seconds: Interval
    agents: int
    rounds: int
    pilot: Usage
    failed: int = 0

    def __str__(self) -> str:
        lines = [f"{self.agents:,} agents, {self.rounds:,} rounds: likely (low to high)"]
        names = (*_NAMES, "seconds")
        lines += [f"{name.replace('_', ' '):>18}  {getattr(self, name)}" for name in names]
        lines.append(f"the pilot took {self.pilot.calls:,} calls, {self.pilot.tokens:,} tokens")
        if self.failed:
            lines.append(f"{self.failed:,} replies of it failed: look at these first")
        return "\n".join(lines)


def estimate(
    workflow: Workflow,
    *args: Any,
    pilot: int = 50,
    total_rounds: int | None = None,
    client: Any = None,
    model: Any = None,
    seed: int = 0,
    **options: Any,
) -> Estimate:
    """Predict what a run will take, by running it for two rounds with a few of its agents.

    The agents of the pilot are a stratified sample: each kind has its share. The pilot asks the
    model, so it costs its part of the money. What its agents took is carried over to all agents
    and all rounds. Prompts that grew from the first round to the second may grow on as they did,
    or not at all: the interval spans both, and 95 % of what chance does. It knows nothing of what
    a workflow does differently later, or with more agents, nor of what ``coalesce=True`` spares:
    the agents of a pilot ask one by one.

    Parameters
    ----------
    workflow, *args, client, model, seed, **options
        As for `run`.
    pilot
        How many agents of each population take part.
    total_rounds
        Rounds of the whole run; by default what the workflow's parameter ``rounds`` says, or as
        many as there were if it ends within two.

    Returns
    -------
    Estimate

    Raises
    ------
    UsageError
        If it is not known how many rounds there will be, or there would be no pilot.
    RunError
        If more than half of the replies of the pilot fail.

    Examples
    --------
    >>> import daskagents as da
    >>> from daskagents import models
    >>> class Voter(da.Agent):
    ...     async def reply(self, message):
    ...         return (await self.chat("Tea or coffee?")).text
    >>> def poll(voters, rounds=3):
    ...     for _ in range(rounds):
    ...         yield {"said": voters.reply()}
    >>> voters = da.Population(Voter, 100_000, model=models.Dummy(answer="tea"))
    >>> found = estimate(poll, voters, rounds=10, client="sync")
    >>> found.calls, found.pilot.calls
    (Interval(low=1000000.0, likely=1000000.0, high=1000000.0), 100)
    """
    bound = bind(workflow, args, options)
    if not isinstance(pilot, int) or pilot < 2:
        raise UsageError(f"pilot={pilot!r}: give at least 2 agents")
    rounds = total_rounds or bound.arguments.get("rounds")
    small = _Pilot(pilot, seed)
    for name, value in bound.arguments.items():
        bound.arguments[name] = small.instead(value)
    seconds, failed = list[float](), 0
    took: dict[str, _Took] = {}

    def heed(number: int, passed: float, told: Any) -> None:
        nonlocal failed
        seconds.append(passed)
        for step, parts in told:
            members, (frame, n) = step.members, step.members.origin
            if members.are_groups:
                raise UsageError(
                    "a pilot takes a few agents of each population, and scenes need whole groups;"
                    f" run the workflow with a few groups, as in sel({members.shared}=[...])"
                )
            size = small.sizes.get(frame)
            each = took.setdefault(members.name, _Took(size or n, np.zeros((_ROUNDS, n, 4))))
            for index, part in zip(step.indexes, parts, strict=True):
                usage, failed = part.usage.total, failed + part.failed
                if index < n:
                    found = each.used[number, index]
                else:  # agents that entered stand for themselves
                    alone = took.setdefault(f"{members.name} {index}", _alone())
                    found = alone.used[number, 0]
                found += [getattr(usage, name) for name in _NAMES]

    @functools.wraps(workflow)
    def shortly(*given: Any, **more: Any) -> Iterator[Any]:
        yield from islice(workflow(*given, **more), _ROUNDS)

    settings = Settings(
        client=client,
        model=as_model(model),
        seed=seed,
        max_failed=_MAX_FAILED,
        progress=False,
        heed=heed,
    )
    execute(shortly, bound, settings)
    if not seconds or rounds == 0:
        raise UsageError("there is nothing to predict: the workflow, as it is called, has no round")
    if not isinstance(rounds, int):
        if len(seconds) == _ROUNDS:
            raise UsageError(
                "how many rounds there will be is not known: give total_rounds=, as in"
                f" da.estimate({workflow.__name__}, ..., total_rounds=20)"
            )
        rounds = len(seconds)
    # blocks go one after another where there are no workers
    share = small.share if client == "sync" else 1.0
    found = _carried_over(list(took.values()), seconds, rounds, share)
    return replace(found, failed=failed)


class _Took(NamedTuple):
    """What the agents of one population took in the pilot."""

    agents: int
    #: Over (round, agent, what).
    used: NDArray[np.float64]


def _alone() -> _Took:
    """Return what one block took, that stands for no other."""
    return _Took(1, np.zeros((_ROUNDS, 1, 4)))


def _carried_over(took: list[_Took], seconds: list[float], rounds: int, share: float) -> Estimate:
    """Carry what the pilot took over to all agents and rounds."""
    steady, growing, variance = np.zeros(4), np.zeros(4), np.zeros(4)
    for agents, used in took:
        first, last = used[0], used[min(len(seconds), rounds) - 1]
        flat = first + (rounds - 1) * last
        grown = rounds * first + rounds * (rounds - 1) / 2 * (last - first)
        steady += agents * flat.mean(axis=0)
        growing += agents * grown.mean(axis=0)
        n = len(first)
        if n > 1:
            variance += flat.var(axis=0, ddof=1) * (agents + agents**2 / n)
    spread = NormalDist().inv_cdf(0.975) * np.sqrt(variance)
    # what grows are prompts, and with them the cost; calls and answers do not for that
    grows = np.array([name in ("prompt_tokens", "cost") for name in _NAMES])
    growing = np.where(grows, np.maximum(growing, 0.0), steady)
    low = np.maximum(np.minimum(steady, growing) - spread, 0.0)
    high = np.maximum(steady, growing) + spread
    found = {
        name: Interval(float(low[at]), float(growing[at]), float(high[at]))
        for at, name in enumerate(_NAMES)
    }
    pilot = sum(used.sum(axis=(0, 1)) for _, used in took)
    return Estimate(
        calls=found["calls"],
        prompt_tokens=found["prompt_tokens"],
        completion_tokens=found["completion_tokens"],
        cost=found["cost"],
        seconds=_seconds(seconds, rounds, share, found["calls"].likely, pilot),
        agents=sum(agents for agents, _ in took),
        rounds=rounds,
        pilot=Usage(int(pilot[0]), int(pilot[1]), int(pilot[2]), cost=float(pilot[3])),
    )


def _seconds(
    passed: list[float], rounds: int, share: float, calls: float, pilot: NDArray[np.float64]
) -> Interval:
    """Return how long a run takes, if all agents are answered at a time, or as many as in a pilot.

    The first round is left out where there is another: it has the start in it.
    """
    each = passed[-1]
    low = rounds * each * share
    in_pilot = pilot[0] / len(passed)
    high = max(low, calls / in_pilot * each) if in_pilot else low
    return Interval(low, math.sqrt(low * high), high)
