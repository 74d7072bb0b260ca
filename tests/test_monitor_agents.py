from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bridge_town import SCRIPT, SIZE, citizens, model, town
from browsing import Running, Tab, tab_of
from distributed import Client, LocalCluster

import daskagents as da


@pytest.fixture(scope="module")
def run(
    cluster2: LocalCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Running]]:
    folder = tmp_path_factory.mktemp("town")
    with Client(cluster2, set_as_default=False) as client:
        given = {"model": model(), "max_failed": 0.5, "seed": 2, "client": client}
        going = Running(
            town, citizens(), enough=str(folder / "enough"), out=folder / "run", **given
        )
        yield folder, going
        (folder / "enough").touch()
        going.end()


def first(tab: Tab) -> list[str]:
    """Return the ids in the first rows."""
    return [row.split()[0] for row in tab.rows()[:3]]


def test_agents_are_found_and_looked_at_while_they_live(
    run: tuple[Path, Running], cluster2: LocalCluster, chromium: Any
) -> None:
    with tab_of(chromium, cluster2.dashboard_link) as tab:
        tab.see("running")
        tab.turn("Agents")
        tab.see(f"1 to 50 of {SIZE}, round")
        tab.see(SCRIPT)
        tab.press("▶")
        tab.see(f"51 to 100 of {SIZE}")
        tab.until(lambda: first(tab) == ["50", "51", "52"])
        tab.choose("find", "those with")
        tab.choose("of", "city (given)")
        tab.fill("is", "Rome")
        tab.see("1 to 40 of 40")
        tab.until(lambda: first(tab) == ["1", "4", "7"])
        tab.choose("find", "the largest")
        tab.choose("of", "opinion (now)")
        tab.press("Find")
        tab.see(f"1 to 50 of {SIZE}, as they are now")
        tab.choose("find", "these ids")
        tab.fill("ids, with commas", "7, 21")
        tab.see("1 to 2 of 2, round")
        tab.pick(1, "Agent 21")
        tab.see("Memory: the last")
        tab.page.locator(".bk-tab").get_by_text("Conversation").click()
        tab.see(f"What about the bridge in Oslo? {SCRIPT}")
        tab.pick(0, "Agent 7")
        tab.page.locator(".bk-tab").get_by_text("Failures").click()
        tab.see(f"agent 7 has had enough {SCRIPT}")


def test_what_cannot_be_found_is_said_on_the_page(
    run: tuple[Path, Running], cluster2: LocalCluster, chromium: Any
) -> None:
    with tab_of(chromium, cluster2.dashboard_link) as tab:
        tab.turn("Agents")
        tab.see(f"1 to 50 of {SIZE}")
        tab.fill("round", "999999")
        tab.press("Find")
        tab.see("there is no round 999999 in the results yet")
        tab.fill("round", "")
        tab.choose("find", "these ids")
        tab.press("Find")
        tab.see("enter the ids of agents")


def test_agents_are_found_when_their_run_has_ended(
    run: tuple[Path, Running], cluster2: LocalCluster, chromium: Any
) -> None:
    folder, going = run
    (folder / "enough").touch()
    going.end()
    opinions = da.open_run(folder / "run").results["opinion"].values[-1]
    order = np.argsort(-np.nan_to_num(opinions, nan=-1.0), kind="stable")
    best = list(map(str, order[:3].tolist()))
    with tab_of(chromium, cluster2.dashboard_link) as tab:
        tab.see("done")
        tab.turn("Agents")
        tab.choose("find", "the largest")
        tab.choose("of", "opinion (reply)")
        tab.press("Find")
        tab.until(lambda: first(tab) == best)
        tab.pick(0, "as they were written down")
        tab.choose("find", "these ids")
        tab.fill("ids, with commas", "21")
        tab.until(lambda: first(tab) == ["21"])
        tab.pick(0, f"hear, hear {SCRIPT}")  # what waits for it
