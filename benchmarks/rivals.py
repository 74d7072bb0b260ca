"""The same voters in Mesa and in Ray, where these are installed: ``pip install '.[bench]'``."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

from distributed import Client

from benchmarks.cases import Plain, Voter, steady
from benchmarks.measure import Row, seconds


def rivals(client: Client, agents: int, few: int) -> Iterator[Row]:
    """Measure replies per second of other frameworks, each at a size it can bear."""
    ours = [steady(Voter, client, agents, 8)]
    what = f"{agents:,} `def reply` agents, replies/s"
    others: dict[str, Callable[[], dict[str, float]]] = {
        "mesa": lambda: _mesa(agents // 10),
        "ray": lambda: _ray(few, agents),
    }
    for name, measured in others.items():
        if importlib.util.find_spec(name) is None:
            yield Row(what, ours, "1/s", f"{name} is not installed: pip install {name}")
            continue
        for way, speed in measured().items():
            yield Row(what, ours, "1/s", way, [speed])


def _mesa(agents: int) -> dict[str, float]:
    """Step Mesa's agents in order, with their fields collected too, and shuffled."""
    mesa: Any = importlib.import_module("mesa")

    class MesaVoter(mesa.Agent, Plain):  # type: ignore[misc]
        def __init__(self, model: Any) -> None:
            mesa.Agent.__init__(self, model)
            Plain.__init__(self)

        def step(self) -> None:
            self.reply(self.model.random)

    model = mesa.Model(seed=0)
    MesaVoter.create_agents(model, agents)
    collector = mesa.DataCollector(agent_reporters={"lean": "lean", "votes": "votes"})

    def collected() -> None:
        model.agents.do("step")
        collector.collect(model)

    ways = {
        "do, nothing collected": lambda: model.agents.do("step"),
        "do, replies collected in memory": collected,
        "shuffle_do, nothing collected": lambda: model.agents.shuffle_do("step"),
    }
    return {f"Mesa, {name}, {agents:,}": agents / seconds(way) for name, way in ways.items()}


def _ray(few: int, agents: int) -> dict[str, float]:
    """Let Ray run a task for each agent, an actor for each of a few, and two that hold many."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray: Any = importlib.import_module("ray")
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    ray.init(num_cpus=2, _node_ip_address="127.0.0.1", **quiet)
    try:
        one = ray.remote(_one)
        ray.get([one.remote() for _ in range(10)])
        tasks = few / seconds(lambda: ray.get([one.remote() for _ in range(few)]))
        actors = [ray.remote(num_cpus=0)(_Actor).remote(1) for _ in range(max(4, few // 200))]
        alone = _asked(ray, actors, 20)
        for actor in actors:
            ray.kill(actor)
        halves = _asked(ray, [ray.remote(_Actor).remote(agents // 2) for _ in range(2)], 3)
    finally:
        ray.shutdown()
    return {
        f"Ray, a task per agent, {few:,}": tasks,
        f"Ray, an actor per agent, {len(actors):,}": len(actors) * alone,
        f"Ray, 2 actors that loop over half of {agents:,} each, nothing kept": agents * halves,
    }


def _asked(ray: Any, actors: list[Any], rounds: int) -> float:
    """Return how often in a second all actors can be asked, after they were once."""
    ray.get([actor.ask.remote() for actor in actors])
    return rounds / seconds(
        lambda: [ray.get([actor.ask.remote() for actor in actors]) for _ in range(rounds)]
    )


def _one() -> dict[str, float]:
    """Be one agent as one task."""
    return Plain().reply_alone()


class _Actor:
    """Some agents, and what the last of them replies."""

    def __init__(self, agents: int) -> None:
        self.agents = [Plain() for _ in range(agents)]

    def ask(self) -> dict[str, float]:
        return [agent.reply_alone() for agent in self.agents][-1]
