import io
import sys
from collections.abc import Iterator
from threading import Event
from typing import Any

import numpy as np
import pytest
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from worlds import Waiter, until

import daskagents as da
from daskagents import models, progress
from daskagents.driver import Driver
from daskagents.outlook import Outlook, Recent
from daskagents.progress import Progress, Snapshot


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def snapshot() -> Snapshot:
    return Snapshot(3, 12_000, 5, 70, 2, 4.0)


def test_the_line_says_what_is_known() -> None:
    assert snapshot().line(5) == (
        "round 3/5 · 12,000 replies · 3,000/s · 5 calls · 70 tokens · 2 failed · 4 s"
    )
    assert snapshot().line(2).startswith("round 3 · ")  # a workflow may mean something else
    assert Snapshot(0, 0, 0, 0, 0, 0.0).line() == "round 0 · 0 replies · 0/s · 0 s"


def test_the_line_says_what_is_spent_of_what() -> None:
    limits = {"cost": 5.0, "tokens": 1e6}
    paid = Snapshot(1, 10, 20, 3000, 0, 400.0, 0.42, 1.5, limits, "paused")
    assert paid.line(2, 0.5, 9000).startswith("paused · round 1/2 · 10 replies · 0.5/s · 20 calls")
    assert "3,000 of 1,000,000 tokens · cost 0.42 of 5.00 · 7 min · about 2.5 h" in paid.line(
        2, 1, 9e3
    )
    unknown = Snapshot(1, 10, 20, 30, 0, 1.0, float("nan"))
    assert "cost" not in unknown.line()
    assert "cost not known of 5.00" in Snapshot(1, 1, 1, 1, 0, 1.0, float("nan"), 1, limits).line()


@given(
    st.floats(0.1, 1e6), st.floats(0.2, 30), st.lists(st.floats(0.2, 20), min_size=1, max_size=50)
)
def test_what_grows_evenly_has_that_rate(rate: float, horizon: float, steps: list[float]) -> None:
    recent, now = Recent(horizon, 3.0), 0.0
    recent.see(now, 0.0)
    for step in steps:
        now += step
        recent.see(now, rate * now)
    assert recent.rate() == pytest.approx(rate)


def test_the_rate_is_of_the_last_seconds_and_the_time_left_of_the_last_rounds() -> None:
    outlook = Outlook(100)
    assert (outlook.rate, outlook.left) == (None, None)
    for second in range(100):  # ten slow rounds, and then one each second
        at = second / 6 if second < 60 else second - 50
        outlook.see(Snapshot(int(at), int(100 * at), 0, 0, 0, second, at=at))
    assert outlook.rate == pytest.approx(100, rel=0.05)
    assert outlook.left == pytest.approx(51, rel=0.05)
    outlook.see(Snapshot(49, 4900, 0, 0, 0, 100, at=49, state="paused"))
    assert (outlook.rate, outlook.left) == (0.0, None)
    for second in range(500, 511):  # it goes on as fast as before
        outlook.see(Snapshot(second - 451, 100 * (second - 451), 0, 0, 0, second))
    assert (outlook.rate, outlook.left) == (100, 41)
    outlook.see(Snapshot(100, 9999, 0, 0, 0, 101, at=100))
    assert outlook.left is None
    outlook = Outlook(4)
    for second in range(0, 2000, 5):  # rounds that take long count part by part
        outlook.see(Snapshot(second // 1000, 0, 0, 0, 0, second, at=second / 1000))
    assert outlook.left == pytest.approx(2000, rel=0.01)


@pytest.mark.parametrize("show", [True, False, None])
@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_shown_in_a_terminal_or_when_asked_for(
    show: bool | None, stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", written := stream())
    with Progress(snapshot, show, 5):
        pass
    assert ("round 3/5" in written.getvalue()) == (show or (show is None and written.isatty()))


def test_rounds_that_are_no_number_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", written := io.StringIO())
    for rounds in ("many", True, None):
        with Progress(snapshot, True, rounds):
            pass
    assert "round 3/" not in written.getvalue()


def test_a_terminal_has_a_bar_or_a_spinner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for rounds, columns, bar in ((5, "120", True), (None, "120", False), (5, "40", False)):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setattr(sys, "stderr", written := Terminal())
        with Progress(snapshot, True, rounds):
            pass
        assert ("━" in written.getvalue()) == bar
        spun = set(written.getvalue()) & set("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
        assert bool(spun) == (rounds is None)
        assert "2 failed" in written.getvalue()


def test_a_file_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LOG_EVERY", 0.01)
    monkeypatch.setattr(sys, "stderr", written := io.StringIO())
    looked = Event()

    def look() -> Snapshot:
        looked.set()
        return snapshot()

    with Progress(look, True, 5):
        assert looked.wait(30)
    lines = written.getvalue().splitlines()
    assert len(lines) > 1 and all(line.startswith("round 3/5 · 12,000 replies") for line in lines)


#: A round lasts until somebody has looked how far it is, where anybody does.
NOTEBOOK = """
from threading import Event
from daskagents.progress import Progress, Snapshot

looked, at = Event(), 0

def snapshot():
    seen = Snapshot(at, 3 * at, 0, 0, 0, at)
    looked.set()
    return seen

with Progress(snapshot, {show}, {rounds}):
    for at in range(4):
        looked.clear()
        assert {show} is False or looked.wait(30)
"""


def played(*cells: tuple[bool | None, int | None]) -> list[list[dict[str, str]]]:
    """Return what each cell of a notebook shows, from the first to the last."""
    seen: list[list[dict[str, str]]] = [[] for _ in cells]

    class Watching(NotebookClient):  # type: ignore[misc]
        def process_message(self, message: Any, cell: Any, cell_index: int) -> Any:
            if "data" in message["content"]:
                seen[cell_index].append(message["content"]["data"])
            elif message["msg_type"] == "stream":
                seen[cell_index].append({"stream": message["content"]["text"]})
            return super().process_message(message, cell, cell_index)

    codes = [new_code_cell(NOTEBOOK.format(show=show, rounds=rounds)) for show, rounds in cells]
    Watching(new_notebook(cells=codes), timeout=60, kernel_name="python3").execute()
    return seen


@pytest.mark.filterwarnings("default")  # of Jupyter's own
def test_a_notebook_shows_a_bar_that_moves() -> None:
    bar, bare, nothing = played((None, 3), (True, None), (False, 3))
    assert all('max="3"></progress>' in page["text/html"] for page in bar)
    assert "<b>100 %</b>" in bar[-1]["text/html"]
    lines = [page["text/plain"].partition(" ·")[0] for page in bar]
    assert lines[0] == "round 0/3" and lines[-1] == "round 3/3"
    assert len(set(lines)) > 2  # also while the cell was at work
    assert "<progress" not in bare[-1]["text/html"] and "round 3 ·" in bare[-1]["text/html"]
    assert nothing == []


def test_a_run_is_quiet_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    def once(people: Any, rounds: int = 2) -> Iterator[Any]:
        for _ in range(rounds):
            yield {"x": people.reply()}

    people, model = da.Population(Waiter, 3), models.Dummy(answer="1")
    da.run(once, people, model=model, client="sync")
    assert capfd.readouterr() == ("", "")
    da.run(once, people, model=model, client="sync", progress=True)
    captured = capfd.readouterr()
    assert "round 2/2 · 6 replies" in captured.err and "6 calls" in captured.err
    assert captured.out == ""


class Later(da.Agent):
    """Waits as many tenths of a second as its id says."""

    async def reply(self, message: da.Message) -> float:
        for _ in range(self.id // 50):
            await self.chat("go on")
        return 1.0


def test_the_line_moves_while_agents_wait(client1: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Snapshot] = []
    drivers: list[Driver] = []
    join = Driver._join

    def watched(driver: Driver, bound: Any) -> None:
        drivers.append(driver)
        join(driver, bound)

    def waits(people: Any) -> Iterator[Any]:
        yield {"x": people.reply()}
        until(lambda: seen.append(drivers[0].snapshot()) or moving(seen))
        people.reply()

    monkeypatch.setattr(Driver, "_join", watched)
    people = da.Population(Later, 400, block_size=200)
    model, budget = models.Dummy(latency=0.3, answer="1"), da.Budget(calls=10_000)
    result = da.run(waits, people, model=model, client=client1, budget=budget)
    calls = np.array([s.calls for s in seen])
    assert (np.diff(calls) >= 0).all()
    assert seen[-1].rounds == 0 and 0 < seen[-1].replies < 400 and seen[-1].calls > 0
    assert seen[-1].at == seen[-1].replies / 400  # the round that is under way counts in part
    last = drivers[0].snapshot()
    assert (last.rounds, last.calls) == (1, int(result["calls"].sum()))
    assert (last.replies, last.cost, last.limits) == (400, 0.0, {"calls": 10_000})
    assert not drivers[0].session.live


def moving(seen: list[Snapshot]) -> bool:
    return len({s.replies for s in seen}) > 3
