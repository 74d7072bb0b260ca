"""What people see of a population and of a run, in a terminal and in a notebook."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

import daskagents as da
from daskagents import models, spark

KEY = "sk-never-to-be-seen"


class Voter(da.Agent):
    """Has a default that HTML would take for its own."""

    region: str = "<b>&"
    lean: float = 0.0

    def reply(self, message: da.Message) -> float:
        return self.lean


def poll(voters: Any) -> Any:
    yield {"lean": voters.reply()}


def tables(shown: str) -> list[list[str]]:
    """Return the cells of each table; titles within pictures are none of their text."""
    root = ET.fromstring(shown)
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag == "svg"]:
            parent.remove(child)
    rows = [list(table.iter("tr")) for table in root.iter("table")]
    return [["".join(cell.itertext()) for row in each for cell in row] for each in rows]


def cells(shown: str) -> list[str]:
    return [cell for table in tables(shown) for cell in table]


def facts_of(shown: str) -> dict[str, str]:
    said = tables(shown)[0]
    return dict(zip(said[::2], said[1::2], strict=True))


def test_a_population() -> None:
    voters = da.Population(
        Voter,
        {"lean": [0.5] * 10},
        block_size=4,
        model=models.OpenAI("any", "http://127.0.0.1:1/v1", api_key=KEY),
    )
    assert repr(voters) == "<Population of 10 Voter in 3 blocks; fields: region, lean>"
    about, fields, rows = tables(voters._repr_html_())
    said = about
    assert said[:6] == ["agents", "10", "blocks", "3 of up to 4", "state", f"{voters.nbytes} B"]
    assert fields[:4] == ["field", "type", "at the start", ""]
    assert fields[4:] == ["region", "str", "'<b>&'", "", "lean", "float", "given: 0.5 100 %", ""]
    assert rows == ["agent", "lean", "0", "0.5", "1", "0.5", "2", "0.5"]
    assert KEY not in voters._repr_html_() and "any" in voters._repr_html_()
    assert "4 of 10" in cells(voters.isel(slice(4))._repr_html_())


def test_a_run(tmp_path: Path) -> None:
    da.run(poll, da.Population(Voter, 5), client="sync", out=tmp_path / "run", seed=3)
    run = da.open_run(tmp_path / "run")
    facts = facts_of(run._repr_html_())
    assert facts.pop("time").endswith(" s")
    assert facts == {
        "folder": str(tmp_path / "run"),
        "status": "done",
        "rounds": "1",
        "seed": "3",
        "voters": "5 Voter",
    }
    assert f'href="{(tmp_path / "run").as_uri()}"' in run._repr_html_()
    assert repr(run) == f"<run of poll in {tmp_path / 'run'}: done; round: 1, agent: 5>"


class Asker(da.Agent):
    """Asks a model; every other one fails."""

    async def reply(self, message: da.Message) -> float:
        await self.chat("?")
        self.fail(self.id % 2, "odd")
        return 1.0


def test_a_run_that_asked_and_failed(tmp_path: Path) -> None:
    def ask(askers: Any, rounds: int, word: str) -> Iterator[Any]:
        for _ in range(rounds):
            yield {"x": askers.reply()}

    model = models.Dummy(answer="1")
    people, folder = da.Population(Asker, 4), tmp_path / "run"
    da.run(
        ask, people, model=model, client="sync", out=folder, max_failed=1, rounds=2, word="<i>" * 99
    )
    facts = facts_of((run := da.open_run(folder))._repr_html_())
    assert (facts["calls"], facts["rounds"]) == ("8", "2")
    assert facts["failed replies"] == "4: AgentError"
    assert tables(run._repr_html_())[1][6:9] == ["dummy", "", "8"]
    assert repr(run).endswith("\n  n_failed  ▄▄  2 to 2")
    assert facts["parameters"].startswith("rounds=2, word='<i>") and len(facts["parameters"]) < 90
    assert "Dummy" in facts["model"]
    about = json.loads((folder / "run.json").read_text()) | {"status": "<script>"}
    del about["crc"]
    (folder / "run.json").write_text(json.dumps(about))
    assert "<script>" not in da.open_run(folder)._repr_html_()
    shutil.rmtree(folder / "rounds.zarr")
    gone = da.open_run(folder)
    assert "no round yet" in repr(gone)
    assert facts_of(gone._repr_html_())["rounds"] == "0"
    assert "calls" not in facts_of(gone._repr_html_())
    assert run.status == "done"


class Speaker(da.Agent):
    name: str = ""
    said: int = 0

    def reply(self, message: da.Message) -> str:
        self.said += 1
        return "<b>" + "long " * 99


def test_named_agents_and_their_messages() -> None:
    model = models.OpenAI("any", "http://127.0.0.1:1/v1", api_key=KEY)
    ann = da.spawn(Speaker(name="<Ann>", said=3), model=model)
    assert repr(ann) == "<Speaker <Ann>>"
    said = cells(ann._repr_html_())
    assert said[:2] == ["agent", "Speaker"] and KEY not in ann._repr_html_()
    assert said[-6:] == ["name", "str", "'<Ann>'", "said", "int", "3"]
    message = ann("hello")
    assert repr(message) == "<message of <Ann>>"
    assert cells(message._repr_html_()) == ["state", "there, not read yet"]
    assert message.content.startswith("<b>long")
    assert repr(message).startswith("<message of <Ann>: '<b>long long") and len(repr(message)) < 90
    (_, content) = cells(message._repr_html_())
    assert content.startswith("'<b>long")
    assert "Message of &lt;Ann&gt;" in message._repr_html_()


def test_defaults_of_any_length_fit_into_a_table() -> None:
    class Long(da.Agent):
        story: str = "word " * 1_000
        must: int

    shown = cells(da.Population(Long, {"must": [1]})._repr_html_())
    assert shown[-8:-5] == ["must", "int", "given: 1 100 %"] and max(map(len, shown)) < 100


def test_given_columns_are_drawn_and_nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Citizen(da.Agent):
        town: str = ""
        name: str = ""
        age: int | None = None
        lean: float = 0.0

        def reply(self, message: da.Message) -> float:
            return self.lean

    n = 20_000
    given = {
        "town": ["<script>", "b", "b", "b"] * (n // 4),
        "name": [f"citizen {i}" for i in range(n)],
        "age": [None if i % 10 == 0 else i % 90 for i in range(n)],
        "lean": np.linspace(0, 1, n),
    }
    people = da.Population(Citizen, given)
    monkeypatch.setattr("dask.base.compute", None)
    monkeypatch.setattr(da.Population, "_join", None)
    shown = people._repr_html_()
    fields = tables(shown)[1]
    assert fields[6].startswith("given: b 7") and fields[6].endswith("%, of some")
    assert "different, of some" in fields[10] and "median" in fields[14]
    assert shown.count("<svg") == 3 and "<script>" not in shown
    part = people.isel(np.arange(n) % 4 == 0)
    assert tables(part._repr_html_())[1][6] == "given: <script> 100 %, of some"
    assert tables(part._repr_html_())[2][10] == "4"  # the second of them


class Town(da.Environment):
    rent: float = 1.0


class Country(da.Environment):
    tax: float = 0.5
    note: str = "<script>"
    votes: tuple[str, ...] = da.shared(reduce="append")
    heights: xr.DataArray = np.arange(12.0).reshape(3, 4)  # type: ignore[assignment]
    capital: Town = Town()
    towns: dict[str, Town] = {}  # type: ignore[type-arg]  # noqa: RUF012


def test_an_environment() -> None:
    country = Country(towns={f"t{i}": Town() for i in range(5)})
    shown = country._repr_html_()
    said = tables(shown)[1]
    rows = {said[at]: said[at + 1 : at + 5] for at in range(0, len(said), 5)}
    assert rows["field"] == ["type", "value", "", "agents write"]
    assert rows["tax"] == ["float", "0.5", "", ""] and rows["note"][1] == "'<script>'"
    assert rows["votes"] == ["tuple[str, ...]", "()", "", "append"]
    assert rows["heights"] == ["array", "(dim_0: 3, dim_1: 4) float64", "", ""]
    assert rows["capital"] == ["Town", "rent", "", ""]
    assert rows["towns"] == ["Town by key", "5: 't0', 't1', 't2', ...", "", ""]
    assert "<svg" in shown and "<script>" not in shown


class Teller(da.Agent):
    """Replies numbers of two kinds, and a text that a page might run."""

    def reply(self, message: da.Message) -> dict[str, Any]:
        return {"x": self.rng.uniform(0, 1), "yes": self.id % 2 == 0, "said": "<script>x</script>"}


def test_a_run_has_small_pictures(tmp_path: Path) -> None:
    def tells(tellers: Any, rounds: int = 30) -> Iterator[Any]:
        for at in range(rounds):
            yield tellers.reply().assign(level=float(at))

    da.run(tells, da.Population(Teller, 50), client="sync", out=tmp_path / "run")
    run = da.open_run(tmp_path / "run")
    assert repr(run).splitlines()[1:] == ["  level  ▁▁▁▂▂▂▃▃▃▄▄▄▅▅▅▆▆▆▆▇▇▇██  0 to 29"]
    shown = run._repr_html_()
    assert "<script" not in shown and "<polygon" in shown
    said = tables(shown)
    assert said[1][3:6] == ["level", "", "0 to 29"]
    assert said[2][::4][1:] == ["x", "yes", "said"]
    assert said[2][11] == "0 50 %, 1 50 %" and said[2][15] == "<script>x</script> 100 %"
    for path in (tmp_path / "run" / "rounds.zarr" / "x" / "c").rglob("*"):
        if path.is_file():
            path.write_bytes(b"torn")
    assert tables(run._repr_html_())[2][-4:] == ["x", "", "", "cannot be read"]


def test_results_say_what_they_are_and_stay_what_they_are(tmp_path: Path) -> None:
    def counts(voters: Any) -> Iterator[Any]:
        yield {"yes": voters.reply()}

    people = da.Population(Voter, {"lean": [0.1, 0.2, 0.3]}, name="voters")
    found = da.run(counts, people, client="sync", out=tmp_path / "run")
    assert found["seconds"].attrs == {"long_name": "time that the round took", "units": "s"}
    assert found["voters_failed"].attrs == {"long_name": "whether the agent failed"}
    assert "cost" in found["cost"].attrs["long_name"] and found["yes"].attrs == {}
    array = zarr.open_group(tmp_path / "run" / "rounds.zarr", mode="r")
    for name in ("yes", "seconds", "cost"):
        assert found[name].values.tobytes() == np.asarray(array[name][:]).tobytes()  # type: ignore[index]
    found[["seconds"]].to_zarr(tmp_path / "copy", consolidated=False)
    with xr.open_zarr(tmp_path / "copy", consolidated=False) as copy:  # units of time are no times
        assert copy["seconds"].dtype == np.float64
        assert copy["seconds"].attrs == found["seconds"].attrs


@given(st.lists(st.floats(width=64), max_size=60))
def test_any_numbers_can_be_drawn(values: list[float]) -> None:
    array = np.array(values, np.float64)
    assert len(spark.line(array)) <= 24
    drawn = [spark.curve(array)]
    if bars := spark.bars_of(array):
        assert sum(bars.counts) == np.isfinite(array).sum()
        drawn.append(bars.svg())
    for picture in filter(None, drawn):
        ET.fromstring(picture)
        assert "nan" not in picture and "inf" not in picture.replace("infinit", "")


@given(st.lists(st.text(max_size=40), max_size=30))
def test_any_texts_can_be_drawn(texts: list[str]) -> None:
    if bars := spark.bars_of(np.array(texts, object)):
        assert bars.labels == () or sum(bars.counts) == len(texts)
        if bars.labels:
            ET.fromstring(bars.svg())
