"""Watching: what the page costs a run, what it holds in the scheduler, how quickly it shows.

``python -m benchmarks.watching --pictures docs`` makes the pictures of docs/watching.md: a run of
its own with a model server, and each view of the page in a browser.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil  # type: ignore[import-untyped]
from distributed import Client

import daskagents as da
from benchmarks.cases import BlockVoter, Voter
from benchmarks.measure import Row
from daskagents import models, testing
from daskagents.block import Call, Charter, first_block
from daskagents.message import Message
from daskagents.monitor import sketch
from daskagents.monitor.plugin import MonitorPlugin
from daskagents.step import run_step

_MB = 2**20
_BLOCKS = 8


def ask(agents: Any, rounds: int = 1) -> Iterator[Any]:
    """Ask everybody, round after round."""
    for _ in range(rounds):
        yield agents.reply()


def watching(client: Client, agents: int, rounds: int) -> Iterator[Row]:
    """Measure what sketches cost, what the scheduler holds, and how quickly the page shows."""
    for cls, what in ((BlockVoter, "reply_block"), (Voter, "def reply")):
        yield _cost(client, cls, what, agents)
    yield _memory(rounds)
    yield from _page(client, agents)


def _cost(client: Client, cls: type[da.Agent], what: str, agents: int) -> Row:
    """Measure the processor time of a block's sketch, against the seconds that its step takes.

    Both on the workers' machine; the step as it is in a run, written down, as the page is told.
    """
    size = agents // _BLOCKS
    da.run(ask, da.Population(cls, agents, block_size=size), client=client, rounds=6)
    run = _newest(client)
    found = [c.seconds for s in list(run.steps.values())[2:] for c in s.cells.values()]
    block, charter = first_block(cls, 0, size, {}), Charter(cls, "voters", 1, None)
    call, nobody = Call(0, population=size), Message(None)
    outcome = run_step(charter, block, call, nobody, loop=_no_loop)
    costs = []
    for _ in range(9):
        began = time.thread_time()
        told = sketch.sketch_outcome(outcome)
        msgspec.msgpack.encode(told)
        costs.append(time.thread_time() - began)
    return Row(
        f"telling of a block of {size:,} `{what}` agents, ms of the processor",
        [cost * 1e3 for cost in costs],
        "ms",
        "its step, ms",
        [seconds * 1e3 for seconds in found],
        "ratio 0.02",
    )


def _no_loop() -> Any:
    raise AssertionError("these agents do not wait")


def _newest(client: Client) -> Any:
    """Return what was heard of the newest run, whose scheduler is in this process."""
    plugin = client.cluster.scheduler.plugins[MonitorPlugin.name]
    return next(reversed(plugin.runs.values()))


def _memory(rounds: int) -> Row:
    """Measure what a scheduler holds of a run of many rounds, in a process that does nothing else.

    What others left free would hide it.
    """
    command = [sys.executable, "-m", "benchmarks.watching", "--memory", str(rounds)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Row(
        f"memory of the scheduler for {rounds:,} rounds of {_BLOCKS} blocks, 4 variables, MiB",
        [float(said.splitlines()[-1])],
        "MiB",
        asked="200 MiB",
    )


def _held(rounds: int) -> float:
    """Hear of a run of many rounds; return how much larger this process is then, in MiB."""
    draw, process = np.random.default_rng(0), psutil.Process(os.getpid())
    values = draw.normal(size=10_000)
    plugin = MonitorPlugin()
    events: deque[Any] = deque(maxlen=1_000)  # what Dask itself keeps
    gc.collect()
    before = process.memory_info().rss
    about = {"workflow": {"name": "game"}, "rounds": rounds, "budget": None}
    plugin.log_event("daskagents-x", {"run": about})
    for number in range(rounds):
        said = {"number": number, "population": "p", "method": "reply", "agents": 10**6}
        plugin.log_event("daskagents-x", {"step": {**said, "round": number, "blocks": _BLOCKS}})
        for index in range(_BLOCKS):
            replies = {
                name: sketch.sketch_numbers(values + draw.random()).plain()
                for name in ("a", "b", "c", "d")
            }
            told = {"rows": 125_000, "failed": 0, "failures": {}, "usage": [], "replies": replies}
            message = {"at": [number, index], "sketch": {**told, "seconds": 1.0}, "worker": "w"}
            heard = msgspec.msgpack.decode(msgspec.msgpack.encode(message))
            plugin.log_event("daskagents-x", heard)
            events.append(heard)
    gc.collect()
    return float((process.memory_info().rss - before) / _MB)


def _page(client: Client, agents: int) -> Iterator[Row]:
    """Measure how long the page takes to open, and how late it shows a round; in a browser."""
    with _browser() as browser:
        if browser is None:
            yield Row("opening the page: there is no chromium, or no playwright", [0.0], "s")
            return
        done = threading.Event()

        def long(voters: Any) -> Iterator[Any]:
            while not done.is_set():
                yield voters.reply()

        voters = da.Population(Voter, agents, block_size=agents // _BLOCKS)
        run = threading.Thread(target=da.run, args=(long, voters), kwargs={"client": client})
        run.start()
        try:
            link = client.dashboard_link.removesuffix("status") + "agents"
            opened = [_open(browser, link) for _ in range(3)]
            page = browser.new_page()
            page.goto(link)
            page.get_by_text("round ").first.wait_for()
            late = _delays(client, page)
        finally:
            done.set()
            run.join()
    yield Row(f"opening the page, {agents:,} agents at work, s", opened, "s", asked="2 s")
    yield Row("a round is on the page after, s", late, "s", asked="1 s")


def _open(browser: Any, link: str) -> float:
    page = browser.new_page()
    began = time.perf_counter()
    page.goto(link)
    page.get_by_text("replies a second").first.wait_for()
    passed = time.perf_counter() - began
    page.close()
    return passed


def _delays(client: Client, page: Any) -> list[float]:
    """Return how long after the scheduler has heard of rounds they were seen on the page."""
    run, late = _newest(client), []
    for _ in range(5):
        number, began = run.closed + 1, time.perf_counter()
        while run.closed < number and time.perf_counter() < began + 60:
            page.wait_for_timeout(5)
        heard = time.perf_counter()
        page.wait_for_function(
            """number => {
                const texts = [];
                const walk = node => {
                    if (node.shadowRoot) walk(node.shadowRoot);
                    for (const child of node.children) walk(child);
                    if (node.tagName == 'P') texts.push(node.textContent);
                };
                walk(document.body);
                return texts.some(text => {
                    const found = text.match(/^round ([0-9,]+)/);
                    return found && Number(found[1].replaceAll(',', '')) >= number;
                });
            }""",
            arg=number,
            polling=20,
        )
        late.append(time.perf_counter() - heard)
    return late


@contextmanager
def _browser() -> Iterator[Any]:
    """Yield a browser without a window; None where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        yield None
        return
    with sync_playwright() as api:
        browser = api.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Villager(da.Agent):
    """Somebody of a village, who guesses by rule."""

    town: str = ""
    last: float = 50.0

    def reply(self, message: da.Message) -> Any:
        """Come closer to what was heard, and say how it feels."""
        if self.rng.random() < 0.0005:
            raise ValueError("no idea")
        target = 50.0 if message.content is None else message.content
        self.last = 0.6 * self.last + 0.4 * target + self.rng.gauss(0, 6)
        mood = "calm" if self.last < 30 else "curious" if self.last < 45 else "upset"
        return {"guess": self.last, "mood": mood}


class Asker(da.Agent):
    """Somebody who asks a model."""

    async def reply(self, message: da.Message) -> Any:
        """Ask, and take the answer."""
        answer = await self.chat(f"I am number {self.id}. What would you guess?", schema=float)
        return {"said": answer.value}


def village(villagers: Any, askers: Any, rounds: int = 40, ratio: float = 2 / 3) -> Iterator[Any]:
    """Guess two thirds of the average, and ask some."""
    winner: Any = None
    for _ in range(rounds):
        replies = villagers.reply(winner)
        askers.reply(winner)
        winner = ratio * replies["guess"].mean()
        yield replies.assign(winner=float(winner))


def pictures(folder: Path) -> None:
    """Write a picture of each view while a run is under way."""
    towns = np.array(["Rome", "Oslo", "Lima"])[np.arange(100_000) % 3]
    with (
        testing.model_server(latency=0.05, fail={429: 60}) as server,
        Client(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as client,
        _browser() as browser,
    ):
        assert browser is not None, "pictures need chromium and playwright"
        price = models.Price(prompt=0.15, completion=0.6)
        model = models.OpenAI("test", base_url=server.url, api_key="none", price=price)
        run = threading.Thread(
            target=da.run,
            args=(
                village,
                da.Population(Villager, {"town": towns}, block_size=6_250),
                da.Population(Asker, 600, model=model, block_size=75),
            ),
            kwargs={"client": client, "seed": 7, "budget": da.Budget(cost=1.0, calls=50_000)},
        )
        run.start()
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        link = client.dashboard_link.removesuffix("status") + "agents"
        while page.goto(link).status != 200:  # the run has not brought the page yet
            page.wait_for_timeout(100)
        page.get_by_text("round 10 of").first.wait_for(timeout=120_000)
        for name in ("Run", "Blocks", "Models", "Replies"):
            page.locator(".bk-tab").get_by_text(name, exact=True).first.click()
            if name == "Replies":
                page.get_by_label("by", exact=True).select_option("town")
                page.get_by_role("button", name="Compare groups").click()
                page.get_by_text("all replies of round").first.wait_for()
            page.wait_for_timeout(1_500)
            page.screenshot(path=folder / f"watching-{name.lower()}.png")
        run.join()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watching", description=__doc__)
    parser.add_argument("--pictures", type=Path, help="write the pictures into this folder")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--memory", type=int, help="hear of so many rounds; print the MiB held")
    options = parser.parse_args()
    if options.memory:
        print(_held(options.memory))
        return
    if options.pictures:
        pictures(options.pictures)
        return
    agents, rounds = (50_000, 40) if options.quick else (1_000_000, 500)
    with Client(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as client:
        for row in watching(client, agents, rounds):
            others = statistics.median(row.others) if row.others else None
            print(row.what, [round(each, 3) for each in row.ours], others, row.ratio)


if __name__ == "__main__":
    main()
