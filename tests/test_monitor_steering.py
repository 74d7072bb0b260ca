from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import dask
import pytest
from bridge_town import SCRIPT, citizens, model, town
from browsing import Running, tab_of
from distributed import Client, LocalCluster
from worlds import events

import daskagents as da
from daskagents.errors import StoppedError
from daskagents.monitor import token
from daskagents.monitor.token import Leave


@pytest.fixture
def run(cluster2: LocalCluster, tmp_path: Path) -> Iterator[Running]:
    with Client(cluster2, set_as_default=False) as client:
        given = {"model": model(), "max_failed": 0.5, "seed": 2, "client": client}
        going = Running(
            town, citizens(), enough=str(tmp_path / "enough"), out=tmp_path / "run", **given
        )
        yield going
        (tmp_path / "enough").touch()
        going.join(60)


def test_a_run_is_steered_from_the_page(
    run: Running, cluster2: LocalCluster, chromium: Any, tmp_path: Path
) -> None:
    with tab_of(chromium, cluster2.dashboard_link) as tab:
        tab.see("running")
        tab.turn("Steering")
        tab.press("Ask")
        tab.see("Enter the id of an agent, and a question.")
        tab.fill("agent (id)", "5")
        question = tab.page.get_by_label("question", exact=True)
        question.first.fill(f"Why? {SCRIPT}")
        question.first.blur()
        tab.press("Ask")
        tab.see(f"agent 5: Why? {SCRIPT}")
        tab.see("after step")
        question.nth(1).fill("And you?")
        question.nth(1).blur()
        tab.choose("those with", "city")
        tab.page.get_by_label("being").first.fill("Lima")
        tab.page.get_by_label("being").first.blur()
        tab.fill("of these", "12")
        tab.press("Ask them")
        tab.see("12 asked, 0 failed; kept as survey-1")
        assert (tmp_path / "run" / "surveys" / "survey-1.zarr").is_dir()
        tab.choose("get", "keen")
        tab.fill("the value", "very")
        tab.press("Change them")
        tab.see("'very' is no bool")
        tab.fill("the value", "yes")
        tab.press("Change them")
        tab.see("all: keen := True")
        tab.see("from round")
        tab.press("Pause")
        tab.see("paused")
        tab.press("Resume")
        tab.until(lambda: tab.page.get_by_text("paused").count() == 0)
        tab.press("Stop")
        tab.press("No")
        tab.press("Stop")
        tab.press("Yes, stop it")
        tab.see("This run has ended. Its agents can still be asked")
        run.join(60)
        assert isinstance(run.failed, StoppedError)
    noted = [event["event"] for event in events(tmp_path / "run")]
    assert {"paused", "unpaused", "stopping", "intervened", "survey"} <= set(noted)


def test_the_page_only_shows_without_the_token(
    run: Running, cluster2: LocalCluster, chromium: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "a-token-of-some-length"
    monkeypatch.setenv("DASKAGENTS_TOKEN", secret)
    with tab_of(chromium, cluster2.dashboard_link) as tab:
        tab.turn("Steering")
        tab.see("Enter the token to steer runs from this page.")
        assert not tab.page.get_by_role("button", name="Pause").is_visible()
        field = tab.page.get_by_placeholder("token").filter(visible=True).first
        assert field.get_attribute("type") == "password"
        for given, said in (("wrong", "This is not the token."), (secret, "Interview one agent")):
            field.fill(given)
            field.blur()
            tab.page.wait_for_timeout(1_100)  # none is looked at within a second of a wrong one
            tab.press("Enter")
            tab.see(said)
        assert secret not in tab.page.content() and secret not in tab.page.url
        tab.turn("Workers")
        tab.see("Retire the selected worker")


def test_leave_is_given_on_this_machine_or_with_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def scheduler(host: str) -> Any:
        sockets = {0: socket.create_server((host, 0))}
        return SimpleNamespace(http_server=SimpleNamespace(_sockets=sockets))

    def leave_of(scheduler: Any, path: str = "/agents", **headers: str) -> Leave:
        said = {"Host": "localhost:8787"} | headers
        return Leave(scheduler, SimpleNamespace(headers=said, path=path))

    here, open_to_all = scheduler("127.0.0.1"), scheduler("0.0.0.0")
    try:
        assert leave_of(here).given and not leave_of(open_to_all).given
        assert not leave_of(SimpleNamespace()).given
        assert "DASKAGENTS_TOKEN" in leave_of(open_to_all).why and not leave_of(open_to_all).asks
        for wrong in ({"Host": "evil.org:8787"}, {"Origin": "https://evil.org"}, {"Host": ""}):
            assert not leave_of(here, **wrong).given
        assert leave_of(here, Origin="http://127.0.0.1:8787").given
        assert not leave_of(here, "/agents/autoload.js").given
        assert not token.is_right("")
        with dask.config.set({"daskagents.token": "älter"}):
            assert not leave_of(here).given and leave_of(here).asks  # it may be behind a proxy
            monkeypatch.setattr(token, "_wrong", -1e9)
            leave = leave_of(open_to_all)
            assert not leave.offer("alter") and not leave.offer("älter")
            monkeypatch.setattr(token, "_wrong", -1e9)
            assert leave.offer("älter") and leave.given
    finally:
        for each in (here, open_to_all):
            each.http_server._sockets[0].close()


def test_no_other_page_can_make_up_a_session(cluster2: LocalCluster, tmp_path: Path) -> None:
    enough = tmp_path / "enough"
    enough.touch()
    with Client(cluster2, set_as_default=False) as client:
        given = {"model": model(), "max_failed": 0.5, "client": client}
        da.run(town, citizens(), enough=str(enough), **given)
    page = cluster2.dashboard_link.replace("/status", "/agents")
    with urlopen(page) as answer:  # it is there
        assert answer.status == 200
    pull = f"from bokeh.client import pull_session; pull_session(url={page!r})"
    refused = subprocess.run(  # elsewhere: it leaves a connection open
        [sys.executable, "-W", "ignore", "-c", pull], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1 and "OSError" in refused.stderr
