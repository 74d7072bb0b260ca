"""The same voters in Mesa and in Ray, where these are installed: ``pip install '.[bench]'``."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from typing import Any

from distributed import Client

from benchmarks.cases import Plain, Voter, steady
from benchmarks.measure import Row, seconds

#: Optional, so that nothing is known of their types.
_OPTIONAL = ("mesa", "ray")


def rivals(client: Client, agents: int, few: int) -> Iterator[Row]:
    """Measure replies per second of other frameworks, each at a size it can bear."""
    ours = [steady(Voter, client, agents, 8)]
    what = f"{agents:,} `def reply` agents, replies/s"
    for name, ways in {"mesa": _mesa, "ray": _ray}.items():
        if importlib.util.find_spec(name) is None:
            yield Row(what, ours, "1/s", f"{name} is not installed: pip install {name}")
            continue
        for way, speed in ways(agents // 10 if name == "mesa" else few).items():
            yield Row(what, ours, "1/s", way, [speed])


def _mesa(agents: int) -> dict[str, float]:
    """Step Mesa's agents in order and shuffled, which is its usual way; nothing is written."""
    mesa: Any = importlib.import_module("mesa")

    class MesaVoter(mesa.Agent, Plain):  # type: ignore[misc]
        def __init__(self, model: Any) -> None:
            mesa.Agent.__init__(self, model)
            Plain.__init__(self)

        def step(self) -> None:
            self.reply(self.model.random)

    model = mesa.Model(seed=0)
    MesaVoter.create_agents(model, agents)
    return {
        f"Mesa, do, {agents:,}": agents / seconds(lambda: model.agents.do("step")),
        f"Mesa, shuffle_do, {agents:,}": agents / seconds(lambda: model.agents.shuffle_do("step")),
    }


def _ray(few: int) -> dict[str, float]:
    """Let Ray run one task for each agent, and one actor for each of a few."""
    ray: Any = importlib.import_module("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        one = ray.remote(_one)
        ray.get([one.remote() for _ in range(10)])
        tasks = few / seconds(lambda: ray.get([one.remote() for _ in range(few)]))
        actors = [ray.remote(num_cpus=0)(_Actor).remote() for _ in range(max(4, few // 200))]
        ray.get([actor.ask.remote() for actor in actors])
        count = 20 * len(actors)
        asking = count / seconds(
            lambda: [ray.get([actor.ask.remote() for actor in actors]) for _ in range(20)]
        )
    finally:
        ray.shutdown()
    return {
        f"Ray, a task per agent, {few:,}": tasks,
        f"Ray, an actor per agent, {len(actors):,}": asking,
    }


def _one() -> dict[str, float]:
    """Be one agent as one task."""
    return Plain().reply_alone()


class _Actor(Plain):
    def ask(self) -> dict[str, float]:
        return self.reply_alone()
