import asyncio
import gc
import threading
from collections.abc import Iterator

import pytest

import daskagents as da
from daskagents import loop as loops
from daskagents.loop import Loop, close_shared_loop, patient_gc, resource, shared_loop
from daskagents.models import Dummy


@pytest.fixture(params=[False, True], ids=["here", "thread"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    monkeypatch.setattr(loops, "IN_FLIGHT", 3)
    made = Loop(thread=request.param)
    yield made
    made.close()


class Gauge:
    """Counts how many are under way, and how many were at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.done: list[int] = []

    async def one(self, row: int) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(1 + row % 3):
            await asyncio.sleep(0)
        self.now -= 1
        self.done.append(row)


def test_no_more_than_the_bound_are_under_way(loop: Loop) -> None:
    gauge = Gauge()
    loop.run_each(gauge.one, iter(range(50)))
    assert sorted(gauge.done) == list(range(50))
    assert gauge.most == 3


def test_steps_side_by_side_share_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "IN_FLIGHT", 4)
    loop, gauge = Loop(thread=True), Gauge()
    threads = [
        threading.Thread(target=loop.run_each, args=(gauge.one, iter(range(at, 90, 3))))
        for at in range(3)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    finally:
        loop.close()
    assert sorted(gauge.done) == list(range(90))
    assert gauge.most <= 4


def test_nothing_to_do(loop: Loop) -> None:
    gauge = Gauge()
    loop.run_each(gauge.one, iter(()))
    assert gauge.done == []


def test_a_row_is_taken_only_when_there_is_room(loop: Loop) -> None:
    taken: list[int] = []
    under_way: list[int] = []
    waiting = 0

    def rows() -> Iterator[int]:
        for row in range(20):
            taken.append(row)
            yield row

    async def one(row: int) -> None:
        nonlocal waiting
        under_way.append(row)
        await asyncio.sleep(0)
        waiting = max(waiting, len(taken) - len(under_way))

    loop.run_each(one, rows())
    assert taken == list(range(20))
    assert waiting <= 1


def test_few_are_started_while_many_wait_for_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    # a model with two places: without a bound on the line, all 4,000 agents would stand in it
    class Slow(da.models.Model):
        async def chat(self, request: da.models.Request) -> da.models.Answer:
            nonlocal started, most
            most = max(most, started - len(answered))
            await asyncio.sleep(0)
            answered.append(1)
            return da.models.Answer("yes")

    class Asker(da.Agent):
        async def reply(self, message: da.Message) -> float:
            nonlocal started
            started += 1
            return float(len((await self.chat("Well?")).text))

    started = most = 0
    answered: list[int] = []
    model = da.models.Adaptive(Slow(), start=2, most=2)
    replies = da.Population(Asker, 4_000, model=model, block_size=4_000).reply()
    assert int(replies.sum()) == 3 * 4_000 == 3 * len(answered)
    assert 2 < most <= loops._IN_LINE + loops._AT_ONCE + 2


def test_an_exception_ends_the_step_and_loses_no_room(loop: Loop) -> None:
    async def bad(row: int) -> None:
        await asyncio.sleep(0)
        if row == 1:
            raise OSError("the disk is full")
        await asyncio.sleep(30)

    for _ in range(4):  # more often than there are slots
        with pytest.raises(ExceptionGroup) as caught:
            loop.run_each(bad, iter(range(10)))
        assert isinstance(caught.value.exceptions[0], OSError)
    gauge = Gauge()
    loop.run_each(gauge.one, iter(range(20)))
    assert (len(gauge.done), gauge.most) == (20, 3)


def test_lanes_cancelled_before_they_begin_lose_no_room(loop: Loop) -> None:
    async def bad(row: int) -> None:
        raise OSError("at once")  # the other lanes have not begun

    for _ in range(4):
        with pytest.raises(ExceptionGroup):
            loop.run_each(bad, iter(range(10)))
    gauge = Gauge()
    loop.run_each(gauge.one, iter(range(20)))
    assert (len(gauge.done), gauge.most) == (20, 3)


def test_results_and_errors_come_back(loop: Loop) -> None:
    async def value() -> int:
        await asyncio.sleep(0)
        return 7

    async def error() -> None:
        raise KeyError("x")

    assert loop.run(value()) == 7
    with pytest.raises(KeyError):
        loop.run(error())
    assert loop.run(value()) == 7


def test_an_interrupt_ends_what_is_under_way() -> None:
    loop, ended = Loop(thread=False), []

    async def one(row: int) -> None:
        try:
            if row == 1:
                raise KeyboardInterrupt
            await asyncio.sleep(30)
        finally:
            ended.append(row)

    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_each(one, iter(range(3)))
        assert sorted(ended) == [0, 1, 2]
        gauge = Gauge()
        loop.run_each(gauge.one, iter(range(5)))
        assert gauge.done
    finally:
        loop.close()


def test_an_interrupt_while_all_wait_ends_them() -> None:
    loop, ended = Loop(thread=False), []

    def interrupt() -> None:
        raise KeyboardInterrupt

    async def waits() -> None:
        asyncio.get_running_loop().call_later(0.01, interrupt)
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(True)

    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run(waits())
        assert ended == [True]
    finally:
        loop.close()


def test_a_loop_works_where_another_runs(loop: Loop) -> None:
    async def where() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    async def fails() -> None:
        raise KeyError("x")

    async def inside() -> None:
        assert loop.run(where()).startswith("daskagents-loop")
        with pytest.raises(KeyError):
            loop.run(fails())
        gauge = Gauge()
        loop.run_each(gauge.one, iter(range(10)))
        assert (len(gauge.done), gauge.most) == (10, 3)

    loop.run(where())  # first where none runs, then inside one, then outside again
    asyncio.run(inside())
    loop.run(where())


def test_a_loop_is_closed_where_another_runs() -> None:
    async def inside() -> None:
        loop = Loop(thread=False)
        loop.run(asyncio.sleep(0))
        loop.close()
        loop.close()

    asyncio.run(inside())


def test_what_a_loop_keeps_is_closed_with_it() -> None:
    class Pool:
        closed = 0

        async def aclose(self) -> None:
            Pool.closed += 1

    async def use() -> Pool:
        first, second = resource("pool", Pool), resource("pool", Pool)
        assert first is second
        return first

    loop = Loop(thread=False)
    pool = loop.run(use())
    assert loop.run(use()) is pool
    loop.close()
    loop.close()
    assert Pool.closed == 1
    other = Loop(thread=True)
    assert other.run(use()) is not pool
    other.close()
    assert Pool.closed == 2


def test_the_shared_loop_is_one_until_it_is_closed() -> None:
    try:
        first = shared_loop()
        assert shared_loop() is first
        close_shared_loop()
        close_shared_loop()
        assert shared_loop() is not first
    finally:
        close_shared_loop()


def test_the_garbage_collector_is_restored() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    gc.unfreeze()  # what the tests froze
    try:
        with pytest.raises(KeyError), patient_gc():
            assert gc.get_threshold() == (200_000, 50, 1_000)
            assert gc.get_freeze_count() > 0
            raise KeyError
        assert gc.get_threshold() == before
        assert gc.get_freeze_count() == 0
    finally:
        if frozen:
            gc.freeze()


def test_what_an_application_froze_stays_frozen() -> None:
    gc.freeze()
    count = gc.get_freeze_count()
    with patient_gc():  # some of what is frozen may die meanwhile
        assert gc.get_freeze_count() > count / 2
    assert gc.get_freeze_count() > count / 2


class Asker(da.Agent):
    asked: int = 0

    async def reply(self, message):
        self.asked += 1
        answer = await self.chat(str(message.content))
        return {"text": answer.text, "asked": self.asked}


def test_a_population_works_inside_a_running_loop() -> None:
    askers = da.Population(Asker, 5, model=Dummy(latency=0.01, answer="yes"))

    async def notebook() -> list[float]:
        replies = askers.reply("well?")
        assert replies["text"].values.tolist() == ["yes"] * 5
        return replies["asked"].values.tolist()

    assert askers.reply("first")["asked"].values.tolist() == [1.0] * 5
    assert asyncio.run(notebook()) == [2.0] * 5
    assert askers.reply("last")["asked"].values.tolist() == [3.0] * 5


def test_a_run_works_inside_a_running_loop() -> None:
    def workflow(askers, rounds=2):
        for _ in range(rounds):
            yield askers.reply("well?")

    async def notebook():
        model = Dummy(latency=0.01, answer="yes")
        return da.run(workflow, da.Population(Asker, 5), model=model, client="sync")

    result = asyncio.run(notebook())
    assert result["asked"].values.tolist() == [[1.0] * 5, [2.0] * 5]
