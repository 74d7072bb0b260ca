"""What people see of a population and of a run, in a terminal and in a notebook."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import daskagents as da
from daskagents import models

KEY = "sk-never-to-be-seen"


class Voter(da.Agent):
    """Has a default that HTML would take for its own."""

    region: str = "<b>&"
    lean: float = 0.0

    def reply(self, message: da.Message) -> float:
        return self.lean


def poll(voters: Any) -> Any:
    yield {"lean": voters.reply()}


def cells(shown: str) -> list[str]:
    return ["".join(cell.itertext()) for row in ET.fromstring(shown).iter("tr") for cell in row]


def test_a_population() -> None:
    voters = da.Population(
        Voter,
        {"lean": [0.5] * 10},
        block_size=4,
        model=models.OpenAI("any", "http://127.0.0.1:1/v1", api_key=KEY),
    )
    assert repr(voters) == "<Population of 10 Voter in 3 blocks; fields: region, lean>"
    said = cells(voters._repr_html_())
    assert said[:6] == ["agents", "10", "blocks", "3 of up to 4", "state", f"{voters.nbytes} B"]
    assert said[-9:-6] == ["field", "type", "at the start"]
    assert said[-6:] == ["region", "str", "'<b>&'", "lean", "float", "given"]
    assert KEY not in voters._repr_html_() and "any" in voters._repr_html_()
    assert "4 of 10" in cells(voters.isel(slice(4))._repr_html_())


def test_a_run(tmp_path: Path) -> None:
    da.run(poll, da.Population(Voter, 5), client="sync", out=tmp_path / "run", seed=3)
    run = da.open_run(tmp_path / "run")
    said = cells(run._repr_html_())
    facts = dict(zip(said[::2], said[1::2], strict=True))
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
    said = cells((run := da.open_run(folder))._repr_html_())
    facts = dict(zip(said[::2], said[1::2], strict=True))
    assert (facts["calls"], facts["failed replies"], facts["rounds"]) == ("8", "4", "2")
    assert facts["parameters"].startswith("rounds=2, word='<i>") and len(facts["parameters"]) < 90
    assert "Dummy" in facts["model"]
    about = json.loads((folder / "run.json").read_text()) | {"status": "<script>"}
    del about["crc"]
    (folder / "run.json").write_text(json.dumps(about))
    assert "<script>" not in da.open_run(folder)._repr_html_()
    shutil.rmtree(folder / "rounds.zarr")
    gone = da.open_run(folder)
    assert "no round yet" in repr(gone)
    assert "rounds" in cells(gone._repr_html_()) and "calls" not in cells(gone._repr_html_())
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
    assert shown[-3:] == ["must", "int", "given"] and max(map(len, shown)) < 100
