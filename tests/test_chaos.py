"""The game while its processes are killed: a short one; `chaos.py` plays long ones."""

from __future__ import annotations

from pathlib import Path

from chaos import chaos, differences, undisturbed

import daskagents as da


def test_what_is_killed_is_not_to_be_seen(tmp_path: Path) -> None:
    agents, rounds = 240, 6
    strikes = ["worker", "all"]
    found, repeats, lost, made = chaos(tmp_path / "run", 1, agents, rounds, strikes, 0.8)
    assert differences(undisturbed(agents, rounds), found) == []
    assert "all" in made.log  # else it was done before
    assert repeats <= lost
    opened = da.open_run(tmp_path / "run")
    assert (opened.status, opened.usage["calls"]) == ("done", agents * rounds)
    replayed = da.replay(tmp_path / "run", client="sync")
    took = ["calls", "prompt_tokens", "completion_tokens"]  # of which a replay takes none
    assert differences(found.drop_vars(took), replayed.drop_vars(took)) == []
