from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bridge_town import citizens, model, town
from browsing import Running, Tab, tab_of
from conftest import start_workers
from distributed import Client, LocalCluster
from worlds import same

import daskagents as da
from daskagents.errors import UsageError
from daskagents.executors import Here
from daskagents.scaling import scale


@pytest.fixture(scope="module")
def cluster(dask_folder: Path) -> Iterator[LocalCluster]:
    """Workers of its own, as one of them is retired."""
    with start_workers(2) as started:
        yield started


def workers(tab: Tab) -> list[list[str]]:
    return [row.split("\n") for row in tab.rows()]


def test_a_worker_is_retired_from_the_page_and_others_are_added(
    cluster: LocalCluster, chromium: Any, tmp_path: Path
) -> None:
    every = {"rounds": 25, "pause": 0.25, "model": model(), "max_failed": 0.5, "seed": 5}
    with Client(cluster, set_as_default=False) as client:
        going = Running(town, citizens(), **every, client=client, out=tmp_path / "run")
        with tab_of(chromium, cluster.dashboard_link) as tab:
            tab.see("running")
            tab.turn("Workers")
            tab.until(lambda: len(workers(tab)) == 2)
            tab.until(lambda: sum(int(row[7]) for row in workers(tab)) == 4)
            tab.press("Retire the selected worker")
            tab.see("Click on a worker in the table first.")
            tab.page.locator(".slick-row").first.locator(".slick-cell").first.click()
            tab.page.locator(".slick-row.active, .slick-cell.selected").first.wait_for()
            tab.press("Retire the selected worker")
            tab.see("hands its blocks over, and ends")
            tab.press("Yes, retire it")
            tab.see("is retired.")
            tab.until(lambda: len(workers(tab)) == 1)
            tab.until(lambda: workers(tab)[0][7] == "4")
            tab.page.locator(".slick-row").first.locator(".slick-cell").first.click()
            tab.press("Retire the selected worker")
            tab.see("It is the only worker")
            assert not going.result
            tab.press("Set the number of workers")
            tab.see("There will be 2 workers.")
            tab.until(lambda: len(workers(tab)) == 2)
            result = going.end()
            same(result, da.run(town, citizens(), **{**every, "pause": 0.0}, client="sync"))
            tab.see("done")
            # a cluster outlives a run and serves the next
            da.run(town, citizens(), rounds=2, model=model(), max_failed=0.5, client=client)
            tab.until(
                lambda: tab.page.get_by_role("combobox").first.inner_text().count("town") == 2
            )
            tab.press("Set the number of workers")
            tab.see("none is")


def test_what_cannot_be_scaled_says_so(cluster: LocalCluster) -> None:
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        with pytest.raises(UsageError, match="knows the address of its scheduler alone"):
            scale(client, 3)
        with pytest.raises(UsageError, match="0 is no number of workers"):
            scale(client, 0)
    with pytest.raises(UsageError, match="it runs in one process"):
        scale(Here(), 2)


def test_one_that_adapts_is_left_alone() -> None:
    class Adapting:
        _adaptive = object()

        def scale(self, n: int) -> None:
            raise AssertionError

    class Connected:
        cluster = Adapting()

        def scheduler_info(self) -> dict[str, Any]:
            return {}

    with pytest.raises(UsageError, match="by itself"):
        scale(Connected(), 3)
