import io
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from distributed import Client
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from worlds import Waiter, until

import daskagents as da
from daskagents import models
from daskagents.driver import Driver
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
    result = da.run(waits, people, model=models.Dummy(latency=0.3, answer="1"), client=client1)
    calls = np.array([s.calls for s in seen])
    assert (np.diff(calls) >= 0).all()
    assert seen[-1].rounds == 0 and 0 < seen[-1].replies < 400 and seen[-1].calls > 0
    last = drivers[0].snapshot()
    assert (last.rounds, last.calls) == (1, int(result["calls"].sum()))
    assert not drivers[0].session.live


def moving(seen: list[Snapshot]) -> bool:
    return len({s.replies for s in seen}) > 3
