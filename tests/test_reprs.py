"""What people see of a population and of a run, in a terminal and in a notebook."""

from __future__ import annotations

import xml.etree.ElementTree as ET
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
    assert said[-6:] == ["region", "str", "'<b>&'", "lean", "float", "given"]
    assert KEY not in voters._repr_html_() and "any" in voters._repr_html_()
    assert "4 of 10" in cells(voters.isel(slice(4))._repr_html_())


def test_a_run(tmp_path: Path) -> None:
    da.run(poll, da.Population(Voter, 5), client="sync", out=tmp_path / "run", seed=3)
    run = da.open_run(tmp_path / "run")
    said = cells(run._repr_html_())
    facts = dict(zip(said[::2], said[1::2], strict=True))
    assert facts == {
        "workflow": "poll",
        "folder": str(tmp_path / "run"),
        "status": "done",
        "rounds": "1",
        "seed": "3",
        "voters": "5 Voter",
    }
    assert repr(run) == f"<run of poll in {tmp_path / 'run'}: done; round: 1, agent: 5>"
