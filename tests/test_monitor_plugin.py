from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import given
from hypothesis import strategies as st

import daskagents as da
from daskagents.executors import Cluster
from daskagents.monitor.blocks import CODES, code_of
from daskagents.monitor.heard import POINTS, ROUNDS, STEPS, Cell, RunSeen, Variable
from daskagents.monitor.news import plain
from daskagents.monitor.plugin import MonitorPlugin
from daskagents.monitor.sketch import Counts, Numbers, sketch_numbers


class Guesser(da.Agent):
    kind: str = "plain"

    def reply(self, message: da.Message) -> Any:
        if self.id == 3:
            raise ValueError("no idea")
        return {"guess": float(self.id), "mood": "<script>alert(1)</script>"}


def guessing(players: Any, rounds: int = 3) -> Iterator[Any]:
    for _ in range(rounds):
        replies = players.reply()
        yield replies.assign(top=replies["guess"].max())


def about(**more: Any) -> dict[str, Any]:
    return {"run": {"workflow": {"name": "game"}, "seed": 7, "rounds": 4, "budget": None, **more}}


def step(number: int, blocks: Any = 2, round: int = 0) -> dict[str, Any]:
    said = {"number": number, "population": "p", "method": "reply", "agents": 20}
    return {"step": {**said, "round": round, "blocks": blocks}}


def block(number: int, index: int, values: Any, seconds: float = 1.0) -> dict[str, Any]:
    told = {
        "rows": len(values),
        "failed": 1,
        "failures": {"ValueError": 1},
        "usage": [["small", "http://there/v1", 2, 30, 5, 0, 1, 0.5, 0.0]],
        "replies": {"guess": sketch_numbers(np.array(values, float)).plain()},
        "seconds": seconds,
        "apart": False,
    }
    return {"at": [number, index], "sketch": told, "worker": "tcp://1"}


def monitor(client: Client) -> MonitorPlugin:
    """Return the plugin in the scheduler of a cluster, which is in this process."""
    found: MonitorPlugin = client.cluster.scheduler.plugins[MonitorPlugin.name]
    return found


def wait_for(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)
    return found


def test_a_run_is_summed_up() -> None:
    run = RunSeen("daskagents-a")
    run.hear(about())
    run.hear(step(0))
    run.hear({"at": [0, 0], "done": [4, 1, 2, 10, 5, 0, 0, 0.25, 0.0]})
    assert run.totals() == (4, 2, 15, 0.25, 1)
    assert [cell.state for cell in run.steps[0].cells.values()] == ["running", "waiting"]
    for index in (0, 1):
        run.hear(block(0, index, range(10 * index, 10 * index + 10)))
    assert run.totals() == (20, 4, 70, 1.0, 2)
    assert run.steps[0].over and run.failures == {"ValueError": 2}
    run.hear({"round": {"number": 0, "seconds": 2.0, "values": {"top": 19.0}}})
    assert (run.closed, run.left(), run.values) == (1, 6.0, {"top": 19.0})
    (variable,) = run.variables.values()
    number, sketch = variable.newest() or (0, None)
    assert isinstance(sketch, Numbers)
    assert (number, sketch.count, sketch.mean, sketch.high) == (0, 20, 9.5, 19.0)
    run.hear({"state": "done"})
    assert not run.open and run.left() is None


@given(st.permutations(range(5)))
def test_the_order_in_which_it_is_heard_does_not_matter(order: list[int]) -> None:
    messages = [about(), step(0), step(1, [1], 1), block(0, 0, [1.0]), block(1, 1, [5.0, 6.0])]
    run = RunSeen("daskagents-a")
    for at in order:
        run.hear(messages[at])
    assert run.totals()[0] == 3
    assert [band.mean for band in run.variables["p", "guess"].bands()] == [1.0, 5.5]


def test_a_block_that_is_made_again_counts_once() -> None:
    run = RunSeen("daskagents-a")
    for message in (about(), step(0), block(0, 0, [1.0]), block(0, 0, [1.0])):
        run.hear(message)
    run.hear({"at": [0, 0], "done": [1, 0, 0, 0, 0, 0, 0, 0.0, 0.0]})
    assert run.totals()[:2] == (1, 2)
    assert run.steps[0].cells[0].state == "done"


def test_what_is_kept_of_a_long_run_is_bounded() -> None:
    run = RunSeen("daskagents-a")
    run.hear(about())
    for number in range(1_500):
        run.hear(step(number, 1, number))
        run.hear(block(number, 0, [float(number)]))
        run.note(force=True)
    assert len(run.steps) <= STEPS
    assert len(run.line) <= POINTS
    bands = run.variables["p", "guess"].bands()
    assert len(bands) <= ROUNDS + 3
    assert (bands[0].round <= 2, bands[-1].round) == (True, 1_499)
    assert run.totals()[0] == 1_500
    run.hear(block(3, 0, [1.0]))  # of a step that is kept no more
    assert run.totals()[0] == 1_500


def test_texts_are_counted_over_rounds() -> None:
    variable = Variable("mood", "p", "text")
    for number in range(6):
        top = {f"word {i}": 10 - i for i in range(8)} | {"<b>": 20}
        for _ in range(2):
            variable.add(number, Counts(85, 0, top, 85 - sum(top.values()), sampled=False))
    bands = variable.bands()
    assert [band.count for band in bands] == [170] * 6
    assert bands[0].top["<b>"] == bands[-1].top["<b>"] == 40


def test_slow_blocks_stand_out() -> None:
    assert CODES[code_of(Cell("done", seconds=0.9), 0.4)] == "done, slow"
    assert CODES[code_of(Cell("done", seconds=0.004), 0.001)] == "done"  # nobody waits for that
    assert CODES[code_of(Cell("failed"), None)] == "failed"


def test_what_is_told_is_short_and_plain() -> None:
    said = plain({"long": "x" * 5_000, "many": list(range(999)), "number": np.float64(2.0), 1: {2}})
    assert len(said["long"]) == 200 and len(said["many"]) == 50
    assert (said["number"], said["1"]) == (2.0, "{2}")


def test_a_run_on_a_cluster_is_heard(client1: Client) -> None:
    players = da.Population(Guesser, {"kind": ["a", "b"] * 20}, block_size=10)
    result = da.run(guessing, players, client=client1, rounds=3, seed=9, max_failed=0.1)
    run = next(reversed(monitor(client1).runs.values()))
    assert (run.state, run.workflow, run.closed) == ("done", "guessing", 3)
    assert run.about["seed"] == 9
    assert run.about["populations"]["players"]["given"] == ("kind",)
    assert run.totals()[0] == 120 and run.totals()[4] == int(result["n_failed"].sum())
    assert run.failures == {"ValueError": 3}
    assert [sorted(seen.cells) for seen in run.steps.values()] == [[0, 1, 2, 3]] * 3
    assert all(cell.worker for seen in run.steps.values() for cell in seen.cells.values())
    guess = run.variables["players", "guess"].bands()
    assert [band.mean for band in guess] == pytest.approx(result["guess"].mean("agent").values)
    (_, mood) = run.variables["players", "mood"].newest() or (0, None)
    assert isinstance(mood, Counts) and dict(mood.top) == {"<script>alert(1)</script>": 39}


def test_a_run_that_fails_is_heard(client1: Client) -> None:
    with pytest.raises(da.errors.RunError, match="failed"):
        da.run(guessing, da.Population(Guesser, 40), client=client1, max_failed=0.0)
    run = next(reversed(monitor(client1).runs.values()))
    assert (run.state, run.open) == ("failed", False)


def test_a_run_whose_client_is_gone_is_lost(cluster2: LocalCluster) -> None:
    topic = "daskagents-gone"
    with Client(cluster2, set_as_default=False) as client:
        executor = Cluster(client)
        with executor.keeping(topic):
            executor.tell(topic, about())
            executor.finish_telling()
            plugin = monitor(client)
            assert plugin.runs[topic].state == "running"
            assert plugin.newest() is plugin.runs[topic]
            client.close()
    assert wait_for(lambda: plugin.runs[topic].state == "lost")
    del plugin.runs[topic]


def test_commands_reach_the_program_and_answers_come_back(client1: Client) -> None:
    topic = "daskagents-commanded"
    executor = Cluster(client1)
    heard: list[Any] = []

    def obey(message: Any) -> None:
        heard.append(message)
        executor.tell(topic, {"answer": message["id"], "said": {"round": 3}})

    with executor.keeping(topic), executor.hearing(f"{topic}-control", obey):
        plugin = monitor(client1)

        async def command(dask_scheduler: Any) -> str:
            return plugin.command(topic, {"do": "pause"})

        client1.run_on_scheduler(lambda: None)  # the ear is there when this has been answered
        number = client1.sync(command, None)
        answer = wait_for(lambda: plugin.answers.get(number))
    assert heard == [{"id": number, "do": "pause"}]
    assert answer["said"] == {"round": 3}
    assert topic not in plugin.runs  # nobody told of a run


def test_ended_runs_are_forgotten_in_time() -> None:
    plugin = MonitorPlugin()
    for number in range(30):
        plugin.log_event(f"daskagents-{number}", [about(), {"state": "done"}])
    plugin.log_event("daskagents-last", about())
    assert len(plugin.runs) == 21
    assert plugin.newest() is plugin.runs["daskagents-last"]
    plugin.log_event("daskagents-last", {"state": "anew"})  # it is driven under another name
    plugin.log_event("daskagents-last", step(0))
    assert "daskagents-last" not in plugin.runs
    plugin.log_event("all", {"action": "add-worker"})
    plugin.log_event("daskagents-last-control", {"id": 1, "do": "stop"})
    assert len(plugin.runs) == 20
