"""The program of a run, as it is kept in the run directory: all of it but its keys."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

import pytest

import daskagents as da
from daskagents import models
from daskagents.errors import FolderError, RunError, UsageError
from daskagents.models.describe import without_secrets
from daskagents.testing import model_server

WORDS = "correct horse battery staple"

PROGRAM = f'''
import daskagents as da
from daskagents import models

MINE = "plain-words-0123"
other = {{"Authorization": "{WORDS}"}}


class Asker(da.Agent):
    async def reply(self, message) -> str:
        return (await self.chat("Well?")).text


def survey(askers, api_key="", rounds=1):
    for _ in range(rounds):
        yield {{"said": askers.reply()}}


def model(url):
    return models.OpenAI("m", url, MINE)
'''


def load(path: Path) -> Any:
    """Return a module of a file, as if it had been imported."""
    path.write_text(PROGRAM)
    spec = util.spec_from_file_location("survey_with_keys", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules["survey_with_keys"] = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("whose", ["run", "population"])
def test_no_key_is_in_a_run_directory(tmp_path: Path, whose: str) -> None:
    program = load(tmp_path / "program.py")
    out = tmp_path / "run"
    with model_server() as server:
        bare = program.model(server.url)
        made = models.Retry(bare) if whose == "run" else models.Pool([bare])
        given: Any = {"model": made} if whose == "run" else {}
        askers = da.Population(program.Asker, 3, model=None if given else made)
        da.run(program.survey, askers, api_key="as I say", client="sync", out=out, **given)
    files = [path for path in out.rglob("*") if path.is_file()]
    assert any(path.parent.name == "program" for path in files)
    for path in files:
        for key in ("plain-words-0123", WORDS, "as I say"):
            assert key.encode() not in path.read_bytes(), path
    with pytest.raises(UsageError, match=r"'api_key' has a key, .*give it: api_key="):
        da.replay(out, client="sync")
    assert da.replay(out, client="sync", api_key="as I say").sizes["round"] == 1


@pytest.mark.parametrize(
    "given",
    [["a", "b", "c"] * 4, ["a"] * 6 + ["b"] * 6, ["a"] * 7 + list("bcdef"), [None, *"abcdefghijk"]],
)
def test_the_same_agents_are_known_again_block_by_block(tmp_path: Path, given: Any) -> None:
    """Texts that repeat are kept in another form in a block than in the whole population."""
    people = da.Population(Citizen, {"town": given}, block_size=5)
    da.run(homes, people, client="sync", out=tmp_path / "run")
    found = da.resume(tmp_path / "run", rounds=2, client="sync")
    assert found["at"].values[1].tolist() == [str(town) for town in given]


class Citizen(da.Agent):
    town: str | None = None

    def reply(self, message: da.Message) -> str:
        return f"{self.town}"


def homes(citizens: Any, rounds: int = 1) -> Iterator[Any]:
    for _ in range(rounds):
        yield {"at": citizens.reply()}


@pytest.mark.parametrize(
    "line", ["max_tokens=50", "key = 'abc'", "keys: list[str]", "token_limit = 'x'", "a['key']"]
)
def test_what_is_no_key_stays(line: str) -> None:
    assert without_secrets(line.encode(), None) == line.encode()


@pytest.mark.parametrize("name", ["extra_headers", "default_headers", "api_key", "timeout"])
def test_what_belongs_to_a_model_is_in_no_request(tmp_path: Path, name: str) -> None:
    class Asker(da.Agent):
        async def reply(self, message: da.Message) -> str:
            more: Any = {name: WORDS}
            return (await self.chat("Well?", **more)).text

    def survey(askers: Any) -> Iterator[Any]:
        yield {"said": askers.reply()}

    with pytest.raises(RunError, match=f"{name}= is no parameter of a request") as caught:
        asked = da.Population(Asker, 3, model=models.Dummy())
        da.run(survey, asked, client="sync", out=tmp_path / "run")
    told = [str(caught.value).encode(), *(p.read_bytes() for p in tmp_path.rglob("*.j*"))]
    assert not any(WORDS.encode() in text for text in told)
    if name not in ("api_key", "timeout"):  # which it has of its own
        with pytest.raises(UsageError, match="is no parameter of a request"):
            models.OpenAI("m", **{name: {"X-Key": WORDS}})


@pytest.mark.parametrize("url", ["http://h/v1?key=plain-words", "sk-0123456789abcdef0123"])
def test_a_url_that_is_refused_is_shown_without_a_key(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        models.OpenAI("m", url)
    assert "plain-words" not in str(caught.value) and "0123" not in str(caught.value)


@pytest.mark.parametrize("damage", ["bits", "seed", "fsync", "list", "digit"])
def test_what_is_said_of_a_run_and_is_damaged_is_named(tmp_path: Path, damage: str) -> None:
    people = da.Population(Citizen, {"town": ["Bonn"]})
    da.run(homes, people, client="sync", out=tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    about = json.loads(path.read_text())
    if damage in about:
        del about[damage], about["crc"]
    if damage == "digit":
        about["seed"] += 1
    whole = json.dumps([about] if damage == "list" else about).encode()
    path.write_bytes(b"\xff" + whole[1:] if damage == "bits" else whole)
    with pytest.raises(FolderError, match=r"run\.json"):
        da.resume(tmp_path / "run", client="sync")


class Seldom(da.Agent):
    async def reply(self, message: da.Message) -> str:
        return (await self.chat(f"{message.content}")).text


def asks_twice(askers: Any, rounds: int = 2) -> Iterator[Any]:
    for number in range(rounds):
        yield {"said": askers.reply(number)}


def test_a_replay_goes_on_as_a_replay(tmp_path: Path) -> None:
    model = models.Dummy(0, lambda request, rng: f"{rng.random()}")  # which cannot be found again
    askers = da.Population(Seldom, 6, model=model)
    first = da.run(asks_twice, askers, client="sync", out=tmp_path / "run")
    da.replay(tmp_path / "run", rounds=1, client="sync", out=tmp_path / "again")
    found = da.resume(tmp_path / "again", rounds=2, client="sync")
    assert (found["said"].values == first["said"].values).all()
    assert found["calls"].values.tolist() == [0, 0]
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match="run holds no run"):
        da.resume(tmp_path / "again", rounds=2, client="sync")


@pytest.mark.parametrize("where", ["checkpoints/000001/citizens/00000", "rounds.zarr"])
def test_what_zarr_cannot_read_is_named(tmp_path: Path, where: str) -> None:
    people = da.Population(Citizen, {"town": ["Bonn", "Ulm"]})
    da.run(homes, people, client="sync", out=tmp_path / "run")
    paths = sorted((tmp_path / "run" / where).rglob("zarr.json"))
    for path in (paths[0], paths[-1]):
        whole = path.read_bytes()
        path.write_bytes(b"~" + whole[1:])
        with pytest.raises((FolderError, RunError), match=rf"{where}\S* is damaged; restore it"):
            da.resume(tmp_path / "run", rounds=2, client="sync")
        path.write_bytes(whole)
    assert da.resume(tmp_path / "run", rounds=2, client="sync").sizes["round"] == 2
