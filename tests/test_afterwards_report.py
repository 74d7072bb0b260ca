"""Reports: whole pages that need nothing else, whatever became of the run."""

from __future__ import annotations

import base64
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from test_afterwards_export import Voter, election
from worlds import Player, Speaker, Waiter, asking, reading

import daskagents as da
from daskagents import models
from daskagents.afterwards.facts import gather
from daskagents.afterwards.methods import methods
from daskagents.cli import main
from daskagents.errors import BudgetError
from daskagents.events import line_of
from daskagents.testing import model_server

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"
BROWSER = Path("/usr/bin/chromium")


class Page(HTMLParser):
    """Reads a page: its tags, its attributes, its text; each tag that opens must close."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, said: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(said)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(run: Any, tmp_path: Path) -> Page:
    """Write a report and read it; it needs no network and no script."""
    said = run.report(tmp_path / "report.html").read_text("utf-8")
    page = Page(said)
    assert "script" not in page.tags
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href"):
            assert str(value).startswith(("data:", "#"))
    for kind, data in re.findall(r'src="data:image/([\w+]+);base64,([^"]+)"', said):
        picture = base64.b64decode(data)
        if kind == "svg+xml":
            ET.fromstring(picture)
        else:
            assert picture.startswith(b"\x89PNG")
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
    return page


class Sly(da.Agent):
    """Says what no page may take for its own."""

    note: str = EVIL

    async def reply(self, message: da.Message) -> Any:
        answer = await self.chat(EVIL, system=EVIL, temperature=0.7)
        if self.id == 1:
            raise ValueError(EVIL)
        return {"word": answer.text, "lean": self.rng.random()}


class World(da.Environment):
    news: str = EVIL


def slyly(people: Any, world: World, greeting: str = EVIL, rounds: int = 3) -> Iterator[Any]:
    for _ in range(rounds):
        said = people.reply(greeting, env=world)
        yield said.assign({"<b>mean": said["lean"].mean(), "head": greeting})


@pytest.fixture(scope="module")
def sly(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("report") / "run"
    people = da.Population(Sly, {"note": [EVIL, "b", "c", "d"]})
    model = models.Dummy(answer=EVIL, model=f"m{EVIL}")
    da.run(
        slyly, people, World(), model=model, client="sync", out=folder, max_failed=1, fsync="never"
    )
    said = {"round": 1, "population": "people", "set": {"note": EVIL}, "message": EVIL}
    (folder / "interventions.jsonl").write_text(line_of("intervention", said, repr), "utf-8")
    (folder / "surveys").mkdir()
    answers = np.array([EVIL, "no", "no"], np.dtypes.StringDType())
    asked = {"answer": ("agent", answers), "age": ("agent", [1.0, 2.0, np.nan])}
    xr.Dataset(asked, attrs={"question": EVIL}).to_zarr(
        folder / "surveys" / "survey-1.zarr", consolidated=False
    )
    return da.open_run(folder)


def test_what_agents_say_is_text(sly: Any, tmp_path: Path) -> None:
    page = page_of(sly, tmp_path)
    assert page.text.count("<script>alert(1)</script>") > 20
    for part in ("Interventions", "Survey survey-1", "no 2"):
        assert part in page.text
    assert "temperature=0.7" in page.text and "Agent 0 of people" in page.text
    assert "ValueError" in page.text and "Environment world" in page.text
    assert "1 intervention changed the run from outside, from round 2 on." in page.text


@pytest.mark.skipif(not BROWSER.exists(), reason="there is no chromium here")
def test_a_browser_shows_it_without_complaint(sly: Any, tmp_path: Path) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    path = sly.report(tmp_path / "report.html")
    said: list[str] = []
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(BROWSER), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 1200})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: said.append(request.url[:60]))
        page.goto(path.as_uri())
        widths = page.evaluate("[document.body.scrollWidth, window.innerWidth]")
        broken = page.evaluate("[...document.images].filter(i => !i.naturalWidth).length")
        browser.close()
    assert [one for one in said if not one.startswith(("data:", path.as_uri()[:60]))] == []
    assert widths[0] <= widths[1] and broken == 0


def test_methods_say_what_was_done(tmp_path: Path) -> None:
    with model_server(answer="42", fail={503: 3}, models=("small-1",)) as server:
        model = models.OpenAI(
            "small-1", base_url=server.url, price=models.Price(prompt=1000, completion=1000)
        )
        people = da.Population(Waiter, 6)
        da.run(asking, people, model=model, client="sync", seed=9, rounds=2, out=tmp_path / "run")
    run = da.open_run(tmp_path / "run")
    said = methods(gather(run))
    assert "(asking) had 6 agents (Waiter) and ran for 2 rounds on 20" in said
    assert f"with daskagents {da.__version__} (dask " in said and "the seed 9." in said
    assert f"small-1 at {server.url}, as the servers named the models." in said
    usage = run.usage
    assert f"12 answers took {usage['prompt_tokens']:,} prompt tokens and" in said
    assert "in the currency of the price table" in said
    assert "None of the 12 replies failed." in said
    assert f"{usage['retries']:,} requests failed in passing and were sent again." in said
    page_of(run, tmp_path)


def test_groups_and_agents_that_enter(tmp_path: Path) -> None:
    voters = da.Population(Voter, {"town": ["a", "b", "a"], "age": [30, 40, 50]})
    da.run(election, voters, client="sync", max_failed=1, out=tmp_path / "run", fsync="never")
    page = page_of(da.open_run(tmp_path / "run"), tmp_path)
    assert "No language model was asked." in page.text and "No model was asked." in page.text
    assert "Agents entered or left while it ran; 4 were there at its end." in page.text
    alts = [value for name, value in page.attributes if name == "alt"]
    assert "histograms of crowd, round by round" in alts and "shares of vote by round" in alts
    assert "What could not be read" not in page.text


def stops(people: Any, at: int) -> Iterator[Any]:
    for number in range(3):
        if number == at:
            raise ZeroDivisionError
        yield {"guess": people.reply()["guess"]}


@pytest.mark.parametrize("at", [0, 1])
def test_a_run_that_failed(tmp_path: Path, at: int) -> None:
    with pytest.raises(ZeroDivisionError):
        da.run(stops, da.Population(Player, 3), at, client="sync", out=tmp_path / "run")
    page = page_of(da.open_run(tmp_path / "run"), tmp_path)
    assert "ended before its end (failed)" in page.text
    assert ("No round is written down yet." in page.text) == (at == 0)
    assert "What could not be read" not in page.text


def test_a_run_out_of_budget(tmp_path: Path) -> None:
    people = da.Population(Waiter, 4)
    with pytest.raises(BudgetError):
        da.run(
            asking, people, model=models.Dummy(answer="1"), client="sync", rounds=3,
            budget=da.Budget(calls=6), out=tmp_path / "run", fsync="never",
        )  # fmt: skip
    page = page_of(da.open_run(tmp_path / "run"), tmp_path)
    assert "out of budget" in page.text and "The run ended with its budget." in page.text
    assert "calls 6" in page.text


def test_what_is_missing_or_damaged_is_said(sly: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(sly.folder, folder)
    (next(folder.glob("journal/*/packed"))).write_bytes(b"not a journal at all")
    for chunk in (folder / "rounds.zarr" / "lean").rglob("c/*"):
        if chunk.is_file():
            chunk.write_bytes(b"damaged")
    page = page_of(da.open_run(folder), tmp_path)
    assert "What could not be read" in page.text and "damaged" in page.text
    for name in ("journal", "failures", "rounds.zarr", "surveys", "events.jsonl"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = page_of(da.open_run(folder), tmp_path)
    assert "No round is written down yet." in page.text


def test_a_copy_without_texts_can_be_reported_and_exported(sly: Any, tmp_path: Path) -> None:
    sly.redact(tmp_path / "copy", texts="all")
    run = da.open_run(tmp_path / "copy")
    page = page_of(run, tmp_path)
    assert "texts were removed" in page.text
    # names of models stay
    assert page.text.count("<script>") == page.text.count("m<script>")
    assert "[removed]" in page.text
    assert run.export(tmp_path / "out.csv")[0].exists()


def test_from_a_shell(sly: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(sly.folder)
    assert main(["report", folder, "-o", str(tmp_path / "r.html")]) == 0
    assert main(["export", folder, "-o", str(tmp_path / "t.parquet"), "--rounds", "1:2"]) == 0
    assert main(["redact", folder, "-o", str(tmp_path / "copy"), "--field", "note"]) == 0
    said = capsys.readouterr().out
    assert "r.html" in said and "t_codebook.md" in said and "texts removed" in said
    assert main(["redact", folder, "-o", str(tmp_path / "other")]) == 2
    assert "say what to remove" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nowhere")]) == 2


def talking(first: Any, second: Any) -> Iterator[Any]:
    for _ in range(2):
        yield {"said": second(first("Well?")).content}


def test_named_agents(tmp_path: Path) -> None:
    two = [
        da.spawn(Speaker(name=name), model=models.Dummy(answer="so it is"))
        for name in ("Alice", "Robert")
    ]
    da.run(talking, *two, client="sync", out=tmp_path / "run", fsync="never")
    page = page_of(da.open_run(tmp_path / "run"), tmp_path)
    assert "1 Robert #1: so it is 2 Robert #2: so it is" in page.text
    assert "had 2 agents (Speaker)" in page.text
    assert "Agent 0 of Alice" in page.text and "There is no variable" in page.text


def test_many_rounds_and_one(tmp_path: Path) -> None:
    for rounds in (1, 60):
        folder = tmp_path / f"{rounds}"
        da.run(reading, da.Population(Player, 3), rounds=rounds, client="sync", out=folder)
        page = page_of(da.open_run(folder), tmp_path)
        assert ("40 of 60 rounds." in page.text) == (rounds == 60)
