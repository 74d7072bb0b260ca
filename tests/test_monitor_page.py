from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import Running, Tab, tab_of
from distributed import Client, LocalCluster

import daskagents as da
from daskagents import models, testing
from daskagents.models import Price
from daskagents.monitor.asking import Asked
from daskagents.monitor.grouped import by
from daskagents.monitor.plugin import MonitorPlugin

ROOT = Path(__file__).parents[1]
SCRIPT = "<script>alert('no')</script>"
SIZE = 60


class Player(da.Agent):
    town: str = ""
    age: float = 0.0

    def reply(self, message: da.Message) -> Any:
        if self.id == 11:
            raise ValueError("no idea")
        return {"guess": self.rng.gauss(50, 10), "mood": SCRIPT if self.id % 3 else "calm & well"}


class Asker(da.Agent):
    async def reply(self, message: da.Message) -> Any:
        answer = await self.chat(f"How much, number {self.id}?")
        return {"length": float(len(answer.text))}


def village(players: Any, askers: Any = None, enough: str = "", rounds: int = 1_000) -> Any:
    """Ask them until a file is there."""
    for _ in range(rounds):
        replies = players.reply()
        if askers is not None:
            askers.reply()
        yield replies.assign(mean=float(replies["guess"].mean()))
        if enough and Path(enough).exists():
            return
        if enough:
            time.sleep(0.05)


def players() -> da.Population:
    """Return people of three towns."""
    given = {"town": ["Rome", "Oslo", "<b>Lima</b>"] * (SIZE // 3), "age": np.arange(float(SIZE))}
    return da.Population(Player, given, block_size=10)


@pytest.fixture(scope="module")
def run(cluster2: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A run under way, with a model that refuses one request in seven."""
    folder = tmp_path_factory.mktemp("village")
    with (
        testing.model_server(latency=0.01, answer="fifty", fail={429: 7}) as server,
        Client(cluster2, set_as_default=False) as client,
    ):
        price = Price(prompt=1.0, completion=1.0)
        asked = models.OpenAI("test", base_url=server.url, api_key="none", price=price)
        going = Running(
            village,
            players(),
            da.Population(Asker, 20, model=asked, block_size=10),
            enough=str(folder / "enough"),
            out=folder / "run",
            max_failed=0.5,
            seed=12,
            client=client,
            budget=da.Budget(cost=1e6, calls=10_000_000),
        )
        yield going
        (folder / "enough").touch()
        going.end()


def chosen(tab: Tab, label: str) -> list[str]:
    """Return what can be chosen from a list."""
    return tab.page.get_by_label(label, exact=True).inner_text().split("\n")


def test_the_run_is_shown_as_it_goes_on(
    run: Running, cluster2: LocalCluster, chromium: Any
) -> None:
    with tab_of(chromium, cluster2.dashboard_link) as tab:
        assert tab.page.locator(".navbar a[href='agents']").inner_text() == "Agents"
        tab.see("village")
        tab.see("running")
        tab.see("60 Player, 20 Asker")
        tab.see("seed 12")
        for figure in ("replies", "calls a second", "of 1,000,000 cost in the budget"):
            tab.see(figure)
        tab.see("the last round yielded")
        tab.see("ValueError")

        def closed() -> int:
            words = tab.page.get_by_text("round ", exact=False).all_inner_texts()
            found = [w.split()[1] for w in words if w.startswith("round ")]
            return int(found[0].replace(",", "")) if found else 0

        tab.until(lambda: closed() > 0)
        before = closed()
        tab.until(lambda: closed() > before)


def test_blocks_are_shown_as_they_move(run: Running, cluster2: LocalCluster, chromium: Any) -> None:
    with tab_of(chromium, cluster2.dashboard_link) as tab:
        tab.turn("Blocks")
        tab.see("on a worker")
        tab.see("blocks done")
        tab.see(".reply")
        picture = tab.page.locator(".bk-Figure:visible").first
        box = picture.bounding_box()
        assert box is not None
        width, height = box["width"], box["height"]

        def told() -> int:
            """Move over a block that is done; return how many tooltips there are."""
            for share in (0.6, 0.62):
                picture.hover(position={"x": width * share, "y": height * 0.5})
            return int(tab.page.locator(".bk-Tooltip:visible").count())

        tab.until(told)


def test_models_are_shown_with_what_goes_wrong(
    run: Running, cluster2: LocalCluster, chromium: Any
) -> None:
    with tab_of(chromium, cluster2.dashboard_link) as tab:
        tab.turn("Models")
        tab.see("of 1,000,000 cost spent")
        tab.see("of 10,000,000 calls spent")
        tab.see("tokens out")
        tab.see("an answer takes")
        tab.see("status 429")
        assert tab.page.get_by_text("http://127.0.0.1").count() >= 2
        assert "none" not in tab.page.get_by_text("http://127.0.0.1").first.inner_text()  # the key


def test_replies_are_shown_and_compared(
    run: Running, cluster2: LocalCluster, chromium: Any
) -> None:
    with tab_of(chromium, cluster2.dashboard_link) as tab:
        tab.turn("Replies")
        tab.until(lambda: "players: guess" in chosen(tab, "variable"))
        tab.choose("variable", "players: guess")
        tab.see("59 replies, 1 none; the picture is of all replies")
        assert set(chosen(tab, "by")) >= {"no groups", "town", "age"}
        tab.choose("by", "town")
        tab.press("Compare groups")
        tab.see("by town, all replies of round")
        tab.see("<b>Lima</b>")
        tab.choose("variable", "players: mood")
        tab.see(SCRIPT)  # as a text: no dialog, and no script, as `tab_of` makes sure
        tab.see("all were counted")
        tab.choose("by", "age")
        tab.press("Compare groups")
        tab.see("by age, all replies of round")
        tab.see("14.75 to 29.5")
        assert tab.page.locator(".bk-Figure b").count() == 0


def test_a_run_that_has_ended_stays(client1: Client, chromium: Any) -> None:
    result = da.run(village, players(), rounds=4, client=client1, max_failed=0.5, seed=77)
    with tab_of(chromium, client1.dashboard_link) as tab:
        tab.see("round 4 of 4")
        tab.see("done")
        tab.turn("Replies")
        tab.choose("variable", "guess")
        mean = float(result["guess"].isel(round=-1).mean())
        tab.see(f"guess in round 4: mean {mean:.5g}")
        tab.turn("Blocks")
        tab.see("6 of 6 blocks done")
        picture = tab.page.locator(".bk-Figure:visible").first
        box = picture.bounding_box()
        assert box is not None
        picture.click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.5})
        tab.see("kept in view")
        for name in ("Models", "Run"):
            tab.turn(name)
        tab.see("240")
        other = next(run for run in runs(client1) if run.about.get("seed") == 77)
        name = f"{other.workflow} · seed 77 · done"
        tab.page.locator("select").first.select_option(label=name)
        tab.see("seed 77")


def runs(client: Client) -> list[Any]:
    """Return the runs that a scheduler in this process has heard of, the newest first."""
    plugin = client.cluster.scheduler.plugins[MonitorPlugin.name]
    return list(reversed(plugin.runs.values()))


def test_on_processes_of_their_own_behind_a_prefix_and_after_a_resume(
    tmp_path: Path, chromium: Any
) -> None:
    file, environment = (
        tmp_path / "scheduler.json",
        os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
    )
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    with ExitStack() as stack:

        def start(*words: str) -> None:
            command = [sys.executable, "-m", "dask", *words, f"--scheduler-file={file}"]
            process = subprocess.Popen(command, env=environment, **quiet)
            stack.callback(process.wait)
            stack.callback(process.kill)

        preload = ["--preload", "daskagents.monitor", "--dashboard-prefix", "/user/me/proxy"]
        start("scheduler", "--port=0", "--dashboard-address=127.0.0.1:0", *preload)
        start("worker", "--nthreads=1", "--no-dashboard", f"--local-directory={tmp_path}")
        end = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        given = {"scheduler_file": str(file), "set_as_default": False, "timeout": "60s"}
        client = stack.enter_context(Client(**given))
        port = client.scheduler_info()["services"]["dashboard"]
        link = f"http://127.0.0.1:{port}/user/me/proxy/status"
        pages = [
            urllib.request.urlopen(link.replace("status", name)).read().decode()
            for name in ("status", "agents")
        ]
        # a proxy that takes its own prefix away serves it as well as Dask's own pages
        absolute = [set(re.findall(r'(?:src|href)="(/[^"]*)"', page)) for page in pages]
        assert absolute[1] <= absolute[0], absolute
        with tab_of(chromium, link) as tab:
            assert tab.page.locator(".navbar a[href='agents']").count() == 1
            tab.see("No run has begun")
            for name in ("Blocks", "Models", "Replies", "Run"):
                tab.turn(name)
            given = {"client": client, "max_failed": 0.5, "out": tmp_path / "run"}
            da.run(village, players(), rounds=2, checkpoint_every=1, **given)
            tab.see("round 2 of 2")
            da.run(village, players(), rounds=4, resume=True, **given)
            tab.see("round 4 of 4")
            tab.turn("Replies")
            tab.see("in round 4: mean")
            tab.choose("by", "town")
            tab.press("Compare groups")
            tab.see("by town, all replies of round 4")


def test_there_is_no_page_where_there_is_no_dashboard(dask_folder: Path) -> None:
    with (
        LocalCluster(n_workers=0, dashboard_address=None, processes=False) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(MonitorPlugin())
        assert MonitorPlugin.name in cluster.scheduler.plugins


def test_groups_of_a_run_directory(tmp_path: Path) -> None:
    result = da.run(
        village, players(), rounds=3, client="sync", out=tmp_path / "run", max_failed=0.5
    )
    folder = str(tmp_path / "run")
    told = by(folder, "players", "guess", "town")
    newest = result["guess"].isel(round=-1)
    assert sorted(told["groups"]) == ["<b>Lima</b>", "Oslo", "Rome"]
    means = newest.groupby(result["town"]).mean()
    for name, over, count in zip(told["groups"], told["means"], told["counts"], strict=True):
        assert over[-1] == pytest.approx(float(means.sel(town=name)))
        assert count == int(newest.where(result["town"] == name).count())
    assert told["rounds"] == [0, 1, 2] and told["round"] == 2
    texts = by(folder, "players", "mood", "age")
    assert len(texts["groups"]) == 4 and sum(texts["counts"]) == SIZE - 1
    assert texts["texts"] == [SCRIPT, "calm & well"]
    assert all(sum(shares) == pytest.approx(1) for shares in texts["shares"])
    with pytest.raises(da.errors.UsageError, match="no given column 'height'"):
        by(folder, "players", "guess", "height")


def test_what_cannot_be_asked_is_said(client1: Client) -> None:
    scheduler = client1.cluster.scheduler
    asked = Asked()

    async def ask() -> Any:
        asked.ask(scheduler, "by", "/nowhere", "players", "guess", "town")
        assert asked._task is not None
        await asked._task
        return asked.answer

    da.run(village, players(), rounds=1, client=client1, max_failed=0.5)  # workers are prepared
    assert "/nowhere" in client1.sync(ask)["error"]
