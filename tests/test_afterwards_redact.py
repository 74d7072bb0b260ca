"""Copies of runs without texts: nothing of what was removed is left in any byte."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from worlds import Speaker

import daskagents as da
from daskagents import blocks, models
from daskagents.afterwards.literals import Literals
from daskagents.afterwards.removal import MARK
from daskagents.environments import files
from daskagents.errors import BudgetError, FolderError, UsageError
from daskagents.events import line_of
from daskagents.journal.frames import read_frames
from daskagents.journal.segments import read_packed

#: Places where a text may stand; each example puts another secret into each.
PLACES = ("field", "reply", "prompt", "answer", "memory", "inbox", "world", "parameter", "failure")
SECRETS: dict[str, str] = dict.fromkeys(PLACES, "")


@dataclass(frozen=True)
class Home:
    street: str = ""
    rooms: int = 1


class World(da.Environment):
    news: str = ""
    price: float = 1.5
    log: tuple[str, ...] = da.shared(reduce="append")

    def advance(self) -> None:
        self.price += 1


class Teller(da.Agent):
    note: str = ""
    home: Home = Home()
    income: float = 0.0
    age: int = 0

    async def reply(self, message: da.Message) -> Any:
        answer = await self.chat(
            f"{SECRETS['prompt']} {self.note} {message.content}", temperature=0.5, top_p=0.9
        )
        self.remember(SECRETS["memory"])
        self.send((self.id + 1) % 4, SECRETS["inbox"])
        self.env.write("log", f"{SECRETS['world']} {self.id}")
        self.age += 1
        if self.id == 3:
            raise ValueError(SECRETS["failure"])
        return {"guess": self.rng.random(), "word": f"{SECRETS['reply']}{answer.text}"}


def telling(people: Any, world: World, greeting: str = "", rounds: int = 2) -> Iterator[Any]:
    for _ in range(rounds):
        said = people.reply(greeting, env=world)
        _ = said["word"].values
        yield said.assign(mean=said["guess"].mean(), head=greeting)


def answering(request: Any, rng: Any) -> str:
    return f"{SECRETS['answer']} heard {request.messages[-1].text}"


def make(folder: Path) -> Any:
    people = da.Population(
        Teller,
        {
            "note": [f"{SECRETS['field']} of {i}" for i in range(4)],
            "home": [Home(f"{SECRETS['field']} street", i) for i in range(4)],
            "income": [1000.25, 2000.5, 3000.75, 4000.125],
        },
    )
    da.run(
        telling,
        people,
        World(news=SECRETS["world"]),
        greeting=SECRETS["parameter"],
        model=models.Dummy(answer=answering),
        client="sync",
        out=folder,
        max_failed=1,
        checkpoint_every=1,
        fsync="never",
    )
    (folder / "surveys").mkdir()
    asked = xr.Dataset(
        {"answer": ("agent", np.array([SECRETS["answer"], ""], np.dtypes.StringDType()))},
        {"agent": [0, 1]},
        {"question": SECRETS["prompt"]},
    )
    asked.to_zarr(folder / "surveys" / "one.zarr", consolidated=False)
    said = {"round": 1, "population": "people", "set": {"note": SECRETS["field"]}}
    line = line_of("intervention", {**said, "message": SECRETS["inbox"]}, repr)
    (folder / "interventions.jsonl").write_text(line, encoding="utf-8")
    (folder / "picture.png").write_text(SECRETS["reply"], encoding="utf-8")
    return da.open_run(folder)


def within(value: Any) -> Iterator[str]:
    """Yield all texts in a value."""
    if isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from within([*value, *value.values()])
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from within(inner)


def texts_of_arrays(arrays: dict[str, Any]) -> Iterator[str]:
    for name, array in arrays.items():
        if name.endswith("data") or array.dtype.kind in "U":
            data = array.tobytes()
            yield data.decode("utf-8", "replace")


def everything(folder: Path) -> Iterator[str]:
    """Yield all that a run directory holds, as bytes and as what they mean."""
    for path in folder.rglob("*"):
        yield path.name
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield data.decode("utf-8", "replace")
        if path.suffix in (".json", ".jsonl"):
            yield from within([json.loads(line) for line in lines_of(path, data)])
        elif path.name == "packed":
            for one in read_packed(path).values():
                yield from within(msgspec.msgpack.decode(zlib.decompress(one.chats)))
        elif path.parent.name == "texts":
            for each in read_frames(data)[0]:
                kept = each.payload[17:]
                yield (zlib.decompress(kept) if each.payload[16] else kept).decode()
    for path in (*folder.rglob("rounds.zarr"), *folder.glob("surveys/*.zarr")):
        for name, array in zarr.open_group(path, mode="r").arrays():
            yield name
            yield from map(str, np.ravel(array[...]).tolist())
    for path in [p for p in folder.rglob("0*") if (p / "zarr.json").exists()]:
        block = blocks.read(path)
        for column in [*block.columns.values(), *([block.mail.content] if block.mail else [])]:
            yield from texts_of_arrays(dict(column.arrays()))
    for path in folder.glob("environments/*/*"):
        for arrays in files.load_parts(path)[2].values():
            yield from texts_of_arrays(arrays)


def lines_of(path: Path, data: bytes) -> list[bytes]:
    return [data] if path.suffix == ".json" else [line for line in data.split(b"\n") if line]


texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="[]"), min_size=3
)


@pytest.mark.parametrize("how", ["pattern", "all", "field"])
@settings(max_examples=3, phases=[Phase.generate])  # smaller secrets tell no more
@given(secrets=st.tuples(*[texts] * len(PLACES)))
def test_nothing_of_what_was_removed_is_left(how: str, secrets: tuple[str, ...]) -> None:
    # so that each is another, and stands nowhere by chance
    SECRETS.update({p: f"Q{p}Z{text}Q" for p, text in zip(PLACES, secrets, strict=True)})
    with tempfile.TemporaryDirectory() as place:
        run = make(Path(place, "run"))
        before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
        copy = Path(place, "copy")
        gone = PLACES if how != "field" else ("field",)
        if how == "pattern":
            found = run.redact(copy, patterns=[re.escape(secret) for secret in SECRETS.values()])
        elif how == "all":
            found = run.redact(copy, texts="all")
        else:
            found = run.redact(copy, fields=["note", "home"])
        there, here = "\0".join(everything(run.folder)), "\0".join(everything(copy))
        assert [name for name in PLACES if SECRETS[name] not in there] == []
        assert [name for name in PLACES if SECRETS[name] not in here] == list(gone)
        assert sum(found.counts.values()) and "picture.png" in found.left_out
        assert before == {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
        check_numbers(run, copy)


def check_numbers(run: Any, folder: Path) -> None:
    """Check that a copy opens, and that all of its numbers are those of the run."""
    copy = da.open_run(folder)
    assert dict(copy.results.sizes) == dict(run.results.sizes)
    for name, values in run.results.variables.items():
        if values.dtype.kind in "fiub":
            np.testing.assert_array_equal(copy.results[name].values, values.values)
        else:  # what was empty stays so
            assert ((copy.results[name].values == "") == (values.values == "")).all()
    assert copy.usage == run.usage
    there, here = copy.journal(), run.journal()
    for name in ("round", "agent", "call", "model", "calls", "prompt_tokens", "began", "seconds"):
        assert (there[name].values == here[name].values).all()
    assert (copy.failures().agent == run.failures().agent).all()
    prices = copy.environment("world").price.values
    assert (prices == run.environment("world").price.values).all()
    assert len(copy.conversation(1)) == len(run.conversation(1))
    with pytest.raises(FolderError, match="redacted copy"):
        da.resume(folder, client="sync")
    with pytest.raises(FolderError, match="redacted copy"):
        da.replay(folder, client="sync")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    SECRETS.update({place: f"a {place} to hide" for place in PLACES})
    return make(tmp_path_factory.mktemp("redact") / "run")


def test_what_models_were_told_and_said_goes(run: Any, tmp_path: Path) -> None:
    found = run.redact(tmp_path / "copy", texts="journal")
    copy = da.open_run(tmp_path / "copy")
    chats = copy.journal()
    assert set(chats["answer"].values) == {MARK}
    assert set(chats["request"].values) == {f"user: {MARK}"}
    assert {turn.text for turn in copy.conversation(0)} == {MARK}
    assert set(copy.failures()["message"].values) == {MARK}
    # but not what was replied
    assert copy.results["word"].values[0, 0] == run.results["word"].values[0, 0]
    assert found.counts["journal"] and found.counts["memories"] and found.counts["inboxes"]
    with pytest.raises(FolderError, match="redacted copy"):
        da.run(
            telling, da.Population(Teller, 4), World(), client="sync", out=copy.folder, resume=True
        )
    # nor how it was asked for
    kept = next(path for path in copy.folder.glob("journal/*/packed"))
    (one,) = read_packed(kept).values()
    assert b"temperature=0.5, top_p=0.9" in zlib.decompress(one.chats)


def test_numbers_of_a_field_go(run: Any, tmp_path: Path) -> None:
    run.redact(tmp_path / "copy", fields=["income", "guess", "price", "age"])
    copy = da.open_run(tmp_path / "copy")
    assert np.isnan(copy.results["income"]).all() and np.isnan(copy.results["guess"]).all()
    assert np.isnan(copy.environment("world").price).all()
    assert (copy.results["word"] == run.results["word"]).all()
    for path in copy.folder.glob("checkpoints/*/people/*"):
        assert np.isnan(blocks.read(path).columns["income"].values).all()  # type: ignore[union-attr]
        assert not blocks.read(path).columns["age"].values.any()  # type: ignore[union-attr]


def test_a_run_that_was_killed(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    shutil.copytree(run.folder, folder)
    events = folder / "events.jsonl"
    lines = [line for line in events.read_text("utf-8").splitlines() if '"done"' not in line]
    events.write_text("\n".join([*lines, '{"event": "st']), "utf-8")
    (folder / "steps" / "000009").mkdir(parents=True)
    (folder / "steps" / "000009" / "00000-ab").write_text("a reply to hide", "utf-8")
    (folder / "checkpoints" / "000001" / "people" / "00000.ab12cd34").mkdir()
    found = da.open_run(folder).redact(tmp_path / "copy", patterns="to hide")
    assert not any("to hide" in text for text in everything(tmp_path / "copy"))
    assert "steps" in found.left_out


def test_answers_of_a_round_that_is_not_over(tmp_path: Path) -> None:
    SECRETS.update({place: f"a {place} to hide" for place in PLACES})
    people = da.Population(Teller, 6)
    with pytest.raises(BudgetError):
        da.run(
            telling, people, World(), model=models.Dummy(answer=answering), client="sync",
            budget=da.Budget(calls=8), out=tmp_path / "run", max_failed=1, fsync="never",
        )  # fmt: skip
    run = da.open_run(tmp_path / "run")
    assert list(run.folder.glob("journal/*/*/*/answers"))
    run.redact(tmp_path / "copy", patterns="to hide")
    assert not any("to hide" in text for text in everything(tmp_path / "copy"))
    copy = da.open_run(tmp_path / "copy").journal()
    assert copy["agent"].values.tolist() == run.journal()["agent"].values.tolist()
    assert da.open_run(tmp_path / "copy").usage == run.usage


def talking(first: Any, second: Any, rounds: int = 2) -> Iterator[Any]:
    said: Any = "Well?"
    for _ in range(rounds):
        said = second(first(said))
        yield {"said": said.content}


@pytest.mark.parametrize(
    "what", [{"patterns": "Alice|Robert"}, {"fields": "name"}, {"texts": "all"}]
)
def test_named_agents_lose_their_names(tmp_path: Path, what: dict[str, Any]) -> None:
    two = [
        da.spawn(Speaker(name=name), model=models.Dummy(answer="no"))
        for name in ("Alice", "Robert")
    ]
    da.run(talking, *two, client="sync", out=tmp_path / "run", fsync="never")
    da.open_run(tmp_path / "run").redact(tmp_path / "copy", **what)
    said = "\0".join(everything(tmp_path / "copy"))
    left = [name for name in ("Alice", "Robert") if name in said]
    assert not left
    copy = da.open_run(tmp_path / "copy")
    assert set(copy.journal()["population"].values) == {"removed", "removed 2"}
    assert len(copy.conversation(0, "removed 2")) == 4


def founding(rounds: int = 2) -> Iterator[Any]:
    columns = {
        "note": [f"a field to hide {n}" for n in range(3)],
        "home": [Home("a field to hide street")] * 3,
    }
    people, world = da.Population(Teller, columns), World(news="a world to hide")
    for number in range(rounds):
        yield {"word": people.reply("Well?", env=world)["word"]}
        if number == 0:
            people.add(
                {"note": ["a field to hide late"], "home": [Home("a field to hide by the sea")]}
            )


def test_populations_that_a_workflow_makes(tmp_path: Path) -> None:
    SECRETS.update({place: f"a {place} to hide" for place in PLACES})
    da.run(
        founding, model=models.Dummy(answer=answering), client="sync", out=tmp_path / "run",
        max_failed=1, checkpoint_every=1, fsync="never",
    )  # fmt: skip
    run = da.open_run(tmp_path / "run")
    assert sum("to hide" in text for text in everything(run.folder)) > 20
    for number, what in enumerate(({"patterns": "to hide"}, {"texts": "all"})):
        copy = tmp_path / f"copy{number}"
        run.redact(copy, **what)  # type: ignore[arg-type]
        left = [text for text in everything(copy) if "to hide" in text]
        assert not left
        assert da.open_run(copy).results.sizes == run.results.sizes


def test_what_is_refused(run: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="say what to remove"):
        run.redact(tmp_path / "copy")
    with pytest.raises(UsageError, match="no field, reply or parameter 'nte'"):
        run.redact(tmp_path / "copy", fields="nte")
    with pytest.raises(UsageError, match="no regular expression"):
        run.redact(tmp_path / "copy", patterns="(")
    with pytest.raises(UsageError, match="finds 'people', which is a name"):
        run.redact(tmp_path / "copy", patterns="peop")
    with pytest.raises(UsageError, match="finds the mark"):
        run.redact(tmp_path / "copy", patterns=r"\w+")
    with pytest.raises(UsageError, match="'all' or 'journal'"):
        run.redact(tmp_path / "copy", texts="some")
    with pytest.raises(FolderError, match="is within"):
        run.redact(run.folder / "copy", texts="all")
    assert not any(tmp_path.iterdir())
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "file").touch()
    with pytest.raises(FolderError, match="not empty"):
        run.redact(tmp_path / "copy", texts="all")


def test_a_run_that_is_under_way_is_refused(run: Any, tmp_path: Path) -> None:
    from daskagents.lock import Lock

    lock = Lock(run.folder)
    try:
        with pytest.raises(FolderError, match="being written"):
            run.redact(tmp_path / "copy", texts="all")
    finally:
        lock.release()


@given(st.lists(st.text(min_size=1, max_size=20)), st.text(max_size=40), st.data())
def test_literals_are_found_wherever_they_stand(secrets: list[str], text: str, data: Any) -> None:
    long = [secret for secret in secrets if len(secret) >= 4]
    for secret in long:
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + secret + text[at:]
    literals = Literals()
    literals.add(secrets)
    new, found = literals.replace(text, "\0")
    assert found <= len(text) and bool(found) == any(secret in text for secret in long)
    assert not any(secret in part for secret in long for part in new.split("\0"))
