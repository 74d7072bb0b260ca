import gc
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import given
from hypothesis import strategies as st
from worlds import Odd, Player, Speaker, Waiter, drawn, noted_reads, reading, until

import daskagents as da
from daskagents import models, tasks, testing
from daskagents.block import Failure, pick_rows
from daskagents.errors import AgentError, RunError
from daskagents.executors import Here, spread
from daskagents.forms import Form
from daskagents.members import address
from daskagents.models.describe import describe_model
from daskagents.session import Session
from daskagents.table import block_bounds
from daskagents.usage import Tally, Usage

SPENT = Tally([("m", "http://a", Usage(1, 2, 3)), ("", "", Usage(calls=1, cost=0.5))])
NUMBER = Form((("", "number"),))


def play(people: Any, rounds: int = 1) -> Iterator[Any]:
    """Ask everybody, round after round."""
    for _ in range(rounds):
        yield people.reply()


def run(workflow: Any, *args: Any, **options: Any) -> Any:
    return da.run(workflow, *args, **{"client": "sync", "seed": 5, **options})


@given(st.integers(1, 50), st.integers(1, 50), st.data())
def test_blocks_are_addressed_by_their_rows(n: int, size: int, data: st.DataObject) -> None:
    bounds = block_bounds(n, False, size)
    rows = sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1)))
    indexes, counts, masks = address(bounds, np.array(rows))
    found = []
    for index, count, mask in zip(indexes, counts, masks, strict=True):
        length = int(bounds[index + 1] - bounds[index])
        local = pick_rows(mask, length)
        local = np.arange(length) if local is None else local
        assert len(local) == count
        found += (local + bounds[index]).tolist()
    assert found == rows
    assert sum(address(bounds, None)[1]) == n and set(address(bounds, None)[2]) == {None}


addresses = st.sampled_from("abcd")


@given(
    st.lists(st.tuples(st.sampled_from(["p", "q"]), st.sampled_from(["a", "b", "z", ""]))),
    st.dictionaries(addresses, st.integers(1, 4)),
)
def test_no_worker_goes_on_with_more_than_its_share(
    written: list[tuple[str, str]], threads: dict[str, int]
) -> None:
    paths = [(f"{folder}/{at}", holder) for at, (folder, holder) in enumerate(written)]
    homes = spread(paths, threads)
    assert set(homes) <= (set(threads) or {""})
    for folder in "pq":
        given = [home for (name, _), home in zip(written, homes, strict=True) if name == folder]
        for home, count in Counter(given).items():
            share = threads.get(home, 1) / (sum(threads.values()) or 1)
            assert count <= math.ceil(len(given) * share)
    few = dict.fromkeys(threads, 10**6)
    once = [(f"p{at}/0", holder) for at, holder in enumerate(threads)]
    assert spread(once, few) == list(threads)


def test_forms_belong_to_classes_and_not_to_names() -> None:
    def make(value: Any) -> type[da.Agent]:
        class Cell(da.Agent):  # as a notebook makes it, again and again
            def reply(self, message):  # type: ignore[no-untyped-def]
                return value

        return Cell

    numbers, texts = da.Population(make(1.0), 3), da.Population(make({"a": "b"}), 3)
    assert numbers.reply().values.tolist() == [1.0] * 3
    assert texts.reply()["a"].values.tolist() == ["b"] * 3


def test_a_notebook_keeps_no_results_that_nobody_holds(cluster2: LocalCluster) -> None:
    def tasks(dask_scheduler: Any) -> list[str]:
        keys = [str(key) for key in dask_scheduler.tasks]
        return [key for key in keys if "part-" in key or "pick_reply" in key]

    with Client(cluster2) as client:
        people = da.Population(Player, 40, block_size=10)
        for _ in range(5):
            replies = people.reply()
        assert np.isfinite(replies["guess"].values).all()
        until(lambda: not client.run_on_scheduler(tasks))
        assert people._session is not None
        assert not people._session.steps and not people._session.live
        del replies, people
        gc.collect()


def test_news_of_a_step_that_is_closed_is_no_news() -> None:
    session = Session(Here())
    session._under_way[3] = None
    session._hear({"at": [3, 0], "done": [5, 1, 2, 3, 4]})
    session._hear({"at": [2, 0], "done": [5, 1, 2, 3, 4]})
    assert session.live == {(3, 0): (5, 1, Usage(2, 3, 4))}
    session.close()


@pytest.mark.parametrize("lost", [0.0, 0.5, 1.0])
def test_blocks_of_which_nothing_was_heard_are_asked(
    lost: float, cluster2: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """News is lost where a connection breaks and is made again."""
    expected = run(play, da.Population(Player, 40, block_size=10), rounds=3)
    hear, heard = Session._hear, []

    def forgetful(session: Session, news: Any) -> None:
        heard.append(news)
        if "part" not in news or news["at"][1] >= 4 * lost:
            hear(session, news)

    monkeypatch.setattr(Session, "_hear", forgetful)
    for client in (Client(cluster2), "sync"):
        found = run(play, da.Population(Player, 40, block_size=10), rounds=3, client=client)
        assert found.drop_vars("seconds").identical(expected.drop_vars("seconds"))
        if isinstance(client, Client):
            client.close()
    assert sum("part" in news for news in heard) == 2 * 3 * 4


def test_what_is_told_of_a_block_comes_back_as_it_was() -> None:
    told = [
        tasks.Part(3, 0, {}, None, None, Tally(), None),
        tasks.Part(3, 1, {"E": 1}, Failure(4, "no \ud800", "a.py:1"), NUMBER, SPENT, "p"),
    ]
    for part in told:
        plain = msgpack.unpackb(msgpack.packb(part.plain()), use_list=True)
        found = tasks.read_part(plain)
        if part.first_failure is not None:
            cured = replace(part.first_failure, reason="no \\ud800")
            part = replace(part, first_failure=cured)
        assert replace(found, usage=None) == replace(part, usage=None)
        assert list(found.usage) == list(part.usage)


# Messages that a workflow makes itself


@pytest.mark.parametrize("light", [0, 1 << 20])
@pytest.mark.parametrize("kind", [float, int, bool, np.dtypes.StringDType(), "U", object])
def test_messages_reach_each_agent(
    light: int, kind: Any, client1: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Echo(da.Agent):
        def reply(self, message: da.Message) -> str:
            return f"{type(message.content).__name__} {message.content}"

    def once(people: Any) -> Iterator[Any]:
        messages = np.arange(9).astype(object if kind is object else kind)
        yield {"heard": people.reply(messages), "some": people.isel([2, 8]).reply(messages[[1, 3]])}

    monkeypatch.setattr("daskagents.lazies._LIGHT", light)
    results = [
        run(once, da.Population(Echo, 9, block_size=4), client=client, out=tmp_path / name)
        for client, name in [("sync", "a"), (client1, "b")]
    ]
    for result in results:
        expected = np.arange(9).astype(kind)
        said = [f"{type(v).__name__} {v}" for v in expected.tolist()]
        assert result["heard"].values[0].tolist() == said
        assert result["some"].values[0].tolist() == ["", "", said[1], *[""] * 5, said[3]]


def test_heavy_messages_are_in_the_run_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskagents.lazies._LIGHT", 0)
    seen = []

    def each(people: Any) -> Iterator[Any]:
        for _ in range(6):
            yield people.reply(np.ones(20))
            seen.append(len(list((tmp_path / "run" / "checkpoints").rglob("*-*"))))

    run(each, da.Population(Player, 20, block_size=5), out=tmp_path / "run", checkpoint_every=2)
    assert seen[0] == 4 and max(seen) <= 4 * 4  # and go with their checkpoints


# Named agents


def test_what_is_read_of_named_agents_is_written_down(tmp_path: Path) -> None:
    def talk(chair: Any) -> Iterator[Any]:
        said = chair("Well?")
        yield {"said": said}
        yield {"again": chair(said.content).text}

    model = models.Dummy(answer="yes")
    result = run(talk, da.spawn(Speaker(name="Z")), model=model, out=tmp_path / "run")
    assert result["said"].values.tolist() == ["Z #1: yes", ""]
    assert result["again"].values.tolist() == ["", "Z #2: yes"]
    noted = [value["content"] for value in noted_reads(tmp_path / "run")]
    assert noted == ["Z #1: yes", "Z #2: yes"]


def test_a_named_agent_that_fails(tmp_path: Path) -> None:
    def talk(odd: Any) -> Iterator[Any]:
        odd.do("reply")
        yield {"x": odd.do("grumble"), "y": 1.0}

    class Grumbler(Odd):
        def grumble(self, message: da.Message) -> float:
            raise ValueError("no")

    with pytest.raises(RunError, match="1 of 1 agents failed"):
        run(talk, da.spawn(Grumbler(steps=1)))
    result = run(talk, da.spawn(Grumbler(steps=1)), max_failed=1.0)
    assert result["n_failed"].values.tolist() == [1] and "x" not in result

    def reads(odd: Any) -> Iterator[Any]:
        yield {"x": odd.do("grumble").content}

    with pytest.raises(AgentError, match="ValueError: no"):
        run(reads, da.spawn(Grumbler(steps=1)), max_failed=1.0)


# Populations that are not passed


def test_populations_of_the_workflow_itself(tmp_path: Path) -> None:
    outside = da.Population(Player, 30, block_size=10, name="outside")

    def makes(people: Any) -> Iterator[Any]:
        inside = da.Population(Player, 5, name="inside")
        for _ in range(2):
            yield {
                "a": people.reply()["guess"],
                "b": inside.reply()["guess"],
                "c": outside.reply()["guess"],
            }

    results = [run(makes, da.Population(Player, 3)) for _ in range(2)]
    assert dict(results[0].sizes) == {"round": 2, "agent": 3, "inside": 5, "outside": 30}
    for name in "abc":  # from their first state each time
        np.testing.assert_array_equal(results[0][name], results[1][name])


def test_a_population_works_on_after_a_run() -> None:
    people = da.Population(Waiter, 4, model=models.Dummy(answer=drawn))

    def once(given: Any) -> Iterator[Any]:
        yield {"x": given.reply()}

    run(once, people)
    first = people.reply().values
    assert (people.reply().values != first).all()
    run(once, people)
    assert (people.to_dataset()["last"].values != 0).all()


def test_models_are_described_without_secrets() -> None:
    class Mine(models.Model):
        async def chat(self, request: models.Request) -> models.Answer:
            return models.Answer("")

        def __repr__(self) -> str:
            return "Mine(key='sk-123')"

    assert describe_model(None) == ""
    assert describe_model(Mine()).endswith("Mine") and "sk-123" not in describe_model(Mine())
    assert "api_key='***'" in describe_model(
        models.OpenAI("m", base_url="http://127.0.0.1/v1", api_key="secret")
    )


def test_states_of_before_a_checkpoint_are_messages_too(client1: Client) -> None:
    def old(people: Any) -> Iterator[Any]:
        state = people.to_dataset()["last"]
        for _ in range(5):
            yield people.reply(state)
            state = people.to_dataset()["last"]  # taken in one round, sent in the next

    def states(client: Any) -> Any:
        people = da.Population(Player, 40, block_size=10)
        return run(old, people, client=client, checkpoint_every=2)

    np.testing.assert_array_equal(states("sync")["guess"], states(client1)["guess"])
    assert len(list(reading(da.Population(Player, 4), 1))) == 1  # outside of any run too


def test_the_scheduler_forgets_what_past_steps_were(cluster2: LocalCluster) -> None:
    def groups(dask_scheduler: Any) -> int:
        spans = dask_scheduler.extensions["spans"].spans.values()
        return sum(len(holder.groups) for holder in (*spans, *dask_scheduler.computations))

    def long(people: Any, rounds: int) -> Iterator[Any]:
        for _ in range(rounds):
            counted.append(client.run_on_scheduler(groups))
            yield people.reply()

    counted: list[int] = []
    with Client(cluster2) as client:
        people = da.Population(Player, 40, block_size=10)
        da.run(long, people, rounds=41, client=client, checkpoint_every=5)
    assert counted[40] <= max(counted[:10]) + 10


def test_a_program_that_asks_outside_a_run_ends_quietly(tmp_path: Path) -> None:
    code = """
import sys
import daskagents as da

class Asker(da.Agent):
    async def reply(self, message) -> float:
        return float(len((await self.chat("Well?")).text))

model = da.models.OpenAI("any", sys.argv[1], "none")
print(da.Population(Asker, 3, model=model).reply().values.shape)
"""
    with testing.model_server() as server:
        command = [sys.executable, "-c", code, server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "(3,)\n", "")
