"""The game: its players do what they say, and theory is met where there is one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st

import daskagents as da
from daskagents import models
from daskagents.errors import RunError
from daskagents.loading import load
from daskagents.testing import Normal, model_server

game: ModuleType = load(str(Path(__file__).parents[1] / "workflows" / "guess_average.py")).module


def play(players: da.Population, **options: Any) -> xr.Dataset:
    return da.run(game.guess_average, players, **{"client": "sync", "seed": 7, **options})


ASKED: list[models.Request] = []


def note(request: models.Request, rng: Any) -> Any:
    """Answer 30, and note what was asked; by its name, this is one function wherever it runs."""
    ASKED.append(request)
    given = {"reasoning": "Well."} if request.schema is game.ReasonedGuess else {}
    return request.schema(**given, number=30.0)  # type: ignore[misc]


@pytest.fixture
def asked() -> list[models.Request]:
    ASKED.clear()
    return ASKED


@given(
    st.integers(1, 5_000),
    st.lists(st.floats(0, 1, width=16), min_size=1, max_size=6).filter(lambda s: sum(s) > 0.01),
)
def test_shares_of_levels_are_kept_exactly(agents: int, shares: list[float]) -> None:
    thinkers = game.thinkers(agents, ",".join(map(str, shares)))
    assert len(thinkers) == agents
    levels = thinkers.to_dataset()["level"].values
    exact = agents * np.array(shares) / sum(shares)
    counts = np.bincount(levels.astype(int), minlength=len(shares))
    assert (np.abs(counts - exact) < 1 + 1e-9).all()
    assert (counts[exact == 0] == 0).all()


def test_players_play_their_persona(asked: list[models.Request]) -> None:
    """What is a player's own comes after the rules, which all share."""
    columns = {"persona": ["You are Ann.", ""], "education": ["PhD", "school"]}
    players = da.Population(game.Player, columns, model=models.Dummy(answer=note))
    result = play(players, rounds=1)
    assert result["guess"].groupby("education").mean().sizes == {"education": 2, "round": 1}
    systems = [[m.content for m in request.messages if m.role == "system"] for request in asked]
    shared, own = systems[0]
    assert own == f"{game.ROLE} You are Ann." and systems[1] == [shared]


@pytest.mark.parametrize("levels", ["-1,2", "0,0", "nan", "", "a,b"])
def test_shares_that_are_none_are_refused(levels: str) -> None:
    with pytest.raises(ValueError, match=r"levels=|could not convert"):
        game.thinkers(10, levels)


@pytest.mark.parametrize(("ratio", "constant"), [(2 / 3, 0.0), (0.5, 5.0), (1.2, 0.0)])
def test_first_round_of_thinkers_is_as_theory_says(ratio: float, constant: float) -> None:
    shares = np.array([0.2, 0.4, 0.3, 0.1])
    steps = [50.0]
    for _ in shares[1:]:
        steps.append(constant + ratio * steps[-1])
    results = play(game.thinkers(20_000), rounds=1, ratio=ratio, constant=constant)
    assert float(results["mean"][0]) == pytest.approx(shares @ steps, abs=0.6)
    by_level = results["guess"][0].groupby("level").mean()
    np.testing.assert_allclose(by_level, steps, atol=1.5)
    assert ((results["guess"] >= 0) & (results["guess"] <= 100)).all()


@pytest.mark.parametrize(
    ("ratio", "constant", "end"), [(2 / 3, 0.0, 0.0), (0.5, 5.0, 10.0), (0.5, 50.0, 100.0)]
)
def test_thinkers_approach_the_equilibrium(ratio: float, constant: float, end: float) -> None:
    results = play(game.thinkers(2_000), rounds=12, ratio=ratio, constant=constant)
    away = np.abs(results["winner"].values - end)
    assert away[-1] < 1.5 < away[0]


@pytest.mark.parametrize("ratio", [0.0, 1.5, 3.0])
def test_thinkers_stay_in_range_where_the_target_leaves_it(ratio: float) -> None:
    results = play(game.thinkers(500), rounds=8, ratio=ratio)
    assert float(results["guess"].min()) >= 0 and float(results["guess"].max()) <= 100
    assert int(results["n_failed"].sum()) == 0


def test_random_players_are_uniform() -> None:
    results = play(da.Population(game.RandomPlayer, 10_000), rounds=2)
    assert float(results["guess"].mean()) == pytest.approx(50, abs=1)
    assert float(results["guess"].std()) == pytest.approx(100 / 12**0.5, abs=1)


def test_winner_follows_from_the_mean_of_all_guesses() -> None:
    results = play(da.Population(game.RandomPlayer, 1_000), ratio=0.5, constant=5.0)
    means = results["guess"].mean("agent")
    np.testing.assert_allclose(results["mean"], means)
    np.testing.assert_allclose(results["winner"], 5 + means / 2)


@pytest.mark.parametrize(
    ("ratio", "constant", "words"),
    [
        (2 / 3, 0.0, "is 2/3 of the average of"),
        (0.51, 0.0, "is 51/100 of the average of"),
        (0.5, 5.0, "is 5 plus 1/2 of the average of"),
        (0.123456789, 0.0, "is 0.123457 of the average of"),
        (2 / 3, 2.5, "is 2.5 plus 2/3 of the average of"),
    ],
)
def test_rules_say_the_target(ratio: float, constant: float, words: str) -> None:
    assert words in game.rules(ratio, constant)


def test_model_players_are_told_the_rules_and_the_last_winner(
    asked: list[models.Request],
) -> None:
    players = da.Population(game.Player, 5)
    model = models.Dummy(answer=note)
    results = play(players, rounds=2, ratio=0.5, constant=5.0, temperature=0.25, model=model)
    np.testing.assert_array_equal(results["winner"], [20, 20])
    first, second = asked[:5], asked[5:]
    (system,) = {request.messages[0] for request in asked}  # shared by all, word for word
    assert system.role == "system"
    assert "5 plus 1/2 of the average" in system.text
    assert {request.messages[1].text for request in first} == {
        "This is the first round. What number do you report?"
    }
    assert all("winning number of the last round was 20.00" in r.messages[1].text for r in second)
    assert all(r.messages[1].text.endswith("you had reported 30.00.") for r in second)
    assert all(request.sampling == {"temperature": 0.25} for request in asked)


@pytest.mark.parametrize(
    ("prompt", "thinks", "rational", "strategic"),
    [
        ("P1", False, False, False),
        ("P2", True, False, False),
        ("P3", True, True, False),
        ("P4", True, True, True),
    ],
)
def test_prompts_differ_as_they_should(
    prompt: str, thinks: bool, rational: bool, strategic: bool, asked: list[models.Request]
) -> None:
    model = models.Dummy(answer=note)
    play(da.Population(game.Player, 1), rounds=1, prompt=prompt, model=model)
    (request,) = asked
    said = request.messages[0].text
    assert said.startswith(game.rules(2 / 3, 0.0))
    assert ("step by step" in said) == thinks
    assert ("number only" in said) == (not thinks)
    assert ("rational" in said) == rational
    assert ("work out what the others" in said) == strategic
    assert request.schema is (game.ReasonedGuess if thinks else game.Guess)
    names = [field.name for field in dataclasses.fields(request.schema)]
    assert names == (["reasoning", "number"] if thinks else ["number"])


def test_an_answer_outside_is_a_failed_agent_and_leaves_the_mean_alone() -> None:
    def answer(request: models.Request, rng: Any) -> str:
        return '{"number": 150}' if rng.random() < 0.3 else '{"number": 30}'

    players = da.Population(game.Player, 400)
    results = play(players, rounds=2, model=models.Dummy(answer=answer), max_failed=0.9)
    failed = results["failed"].values
    assert 50 < failed[0].sum() < 200
    np.testing.assert_array_equal(np.isnan(results["guess"]), failed)
    np.testing.assert_allclose(results["mean"], 30)
    with pytest.raises(RunError, match=r"of 400 agents failed.*<= 100"):
        play(players, model=models.Dummy(answer=answer))


@pytest.mark.parametrize("answer", ["I do not know.", '{"number": "ten"}', '{"number": -1}'])
def test_nonsense_ends_the_game_and_says_why(answer: str) -> None:
    with pytest.raises(RunError, match=r"10 of 10 agents failed.*agent 0: .*does not fit Guess"):
        play(da.Population(game.Player, 10), model=models.Dummy(answer=answer))


@pytest.mark.parametrize("prompt", ["P1", "P2"])
def test_the_game_is_played_over_the_network(prompt: str) -> None:
    with model_server() as server:
        model = models.OpenAI(base_url=server.url, api_key="none")
        results = play(da.Population(game.Player, 30), rounds=2, prompt=prompt, model=model)
        assert server.stats().outcomes["/v1/chat/completions 200"] == 60
    np.testing.assert_array_equal(results["calls"], [30, 30])
    assert ((results["guess"] >= 0) & (results["guess"] <= 100)).all()
    assert (np.ptp(results["guess"].values, axis=1) == 0).all()  # this server answers alike to all


def test_round_one_can_be_asked_for_together() -> None:
    n, seeds, far = 640, 6, 0
    bound = 1.628 * (2 / n) ** 0.5  # Kolmogorov-Smirnov: of 100 samples of the same, one is above
    with model_server(answer=Normal(40, 12), vary=True) as server:
        for seed in range(seeds):
            server.change(seed=seed)
            guesses, chats = {}, {}
            for together in (True, False):
                model = models.OpenAI("any", server.url, "none", coalesce=together)
                before = server.stats().chats
                people = da.Population(game.Player, n, block_size=n)
                found = play(people, rounds=1, model=model)
                guesses[together] = np.sort(found["guess"].values.ravel())
                chats[together] = server.stats().chats - before
                assert int(found["calls"].sum()) == chats[together]
                server.change(seed=1_000 + seed)
            assert chats[False] == n and chats[True] <= n / 20
            grid = np.concatenate([guesses[True], guesses[False]])
            below = [np.searchsorted(guesses[which], grid, "right") / n for which in (True, False)]
            far += bool(np.abs(below[0] - below[1]).max() > bound)
    assert far <= 1  # more come once in 700 times


def players(kind: str) -> da.Population:
    if kind == "thinkers":
        return game.thinkers(3_000)  # type: ignore[no-any-return]
    return da.Population(getattr(game, kind), 1_000)


@pytest.mark.parametrize("kind", ["thinkers", "RandomPlayer", "Player"])
def test_here_and_on_workers_it_is_the_same_game(kind: str, client3: Client) -> None:
    model = models.Dummy(answer=None)
    here = play(players(kind), rounds=3, prompt="P3", model=model)
    there = play(players(kind), rounds=3, prompt="P3", model=model, client=client3)
    for name in ("guess", "winner", "mean", "calls", "prompt_tokens"):
        np.testing.assert_array_equal(here[name].values, there[name].values)
