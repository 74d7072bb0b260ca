"""A schema with bounds, in a program of the user's, reaches the workers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
from dataclasses import dataclass
from typing import Annotated
import msgspec
import daskagents as da
from daskagents import models

@dataclass(frozen=True)
class Guess:
    number: Annotated[float, msgspec.Meta(ge=40, le=60)]

class Player(da.Agent):
    async def reply(self, message):
        return (await self.chat("How much?", schema=Guess)).value.number

def game(players):
    yield {"guess": players.reply()}

if __name__ == "__main__":
    guesses = da.run(game, da.Population(Player, 5), model=models.Dummy(answer=None))["guess"]
    print(bool(((guesses >= 40) & (guesses <= 60)).all()))
"""


def test_bounds_of_a_schema_in_a_script(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
