"""Workflow files: what is loaded, and what it is called with."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from distributed import Client

import daskagents as da
from daskagents.arguments import arguments
from daskagents.errors import UsageError, WorkflowError
from daskagents.loading import load

Write = Callable[..., str]

GAME = """
import daskagents as da

class Player(da.Agent):
    level: int = 0

    def reply(self, message):
        return {"guess": self.rng.uniform(0, 100)}

def game(players: Player, rounds: int = 5, ratio: float = 2 / 3):
    for _ in range(rounds):
        yield players.reply()
"""


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Write a file, to be forgotten again as a module."""
    before, modules = list(sys.path), set(sys.modules)

    def write(text: str = GAME, name: str = "game.py") -> str:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return str(path)

    yield write
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            if name in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.unregister_pickle_by_value(sys.modules[name])
            del sys.modules[name]


def refused(target: str, **options: Any) -> str:
    """Return what is said of a file or of options that cannot be used."""
    with pytest.raises(UsageError) as caught:
        arguments(load(target), options.pop("options", {}), **options)
    return str(caught.value)


def test_a_workflow_and_its_population(write: Write) -> None:
    program = load(write())
    assert program.workflow.__name__ == "game"
    given = arguments(program, {"rounds": "3", "ratio": "1/2"}, 20)
    players = given.pop("players")
    assert given == {"rounds": 3, "ratio": 0.5}
    assert isinstance(players, da.Population)
    assert (len(players), players.cls.__name__) == (20, "Player")
    assert len(arguments(program, {})["players"]) == 100
    assert da.run(program.workflow, players, client="sync").sizes == {"round": 5, "agent": 20}


def test_the_workflow_is_named_or_called_like_the_file_or_the_only_one(write: Write) -> None:
    two = GAME + "\ndef other(players: Player):\n    yield players.reply()\n"
    path = write(two)
    assert load(path).workflow.__name__ == "game"
    assert load(f"{path}:other").workflow.__name__ == "other"
    assert load(write(GAME, "alone.py")).workflow.__name__ == "game"
    several = refused(write(two, "several.py"))
    assert "several.py has several workflows: game, other; add :NAME" in several
    said = refused(f"{path}:othr")
    assert "no workflow 'othr'; there is game, other; did you mean 'other'?" in said


def test_a_function_called_like_the_file_need_not_be_the_workflow(write: Write) -> None:
    maker = "\ndef town(agents: int) -> da.Population:\n    return da.Population(Player, agents)\n"
    program = load(write(GAME + maker, "town.py"))
    assert program.workflow.__name__ == "game"
    assert len(arguments(program, {"players": "town"}, 3)["players"]) == 3


def test_what_is_imported_or_hidden_is_no_workflow(write: Write) -> None:
    write("def helper(players):\n    yield players.reply()\n", "elsewhere.py")
    path = write(
        "from elsewhere import helper\n" + GAME + "\ndef _hidden(p):\n    yield\n", "one.py"
    )
    assert load(path).workflow.__name__ == "game"


def test_text_annotations_and_names_for_type_checkers(write: Write) -> None:
    text = GAME.replace(
        "import daskagents", "from __future__ import annotations\nimport daskagents"
    )
    text = text.replace("ratio: float = 2 / 3)", "ratio: float = 2 / 3) -> Iterator[object]")
    given = arguments(load(write(text)), {"ratio": "1/3"}, 5)
    assert given["ratio"] == 1 / 3 and len(given["players"]) == 5


@pytest.mark.parametrize(
    "parameter",
    [
        "players: Player",
        "players: da.Population",
        "players",
        "players: Annotated[object, 'x', Player]",
    ],
)
def test_populations_by_annotation(write: Write, parameter: str) -> None:
    text = GAME.replace("players: Player", parameter)
    given = arguments(load(write("from typing import Annotated\n" + text)), {}, 7)
    assert len(given["players"]) == 7


def test_several_populations(write: Write) -> None:
    text = """
    import daskagents as da
    class Buyer(da.Agent):
        def reply(self, message): return 1.0
    class Seller(da.Agent):
        def reply(self, message): return 2.0
    def market(buyers: Buyer, sellers: Seller, rounds: int = 1):
        yield {"price": buyers.reply().mean() + sellers.reply().mean()}
    """
    given = arguments(load(write(text)), {}, 3)
    assert [p.cls.__name__ for p in (given["buyers"], given["sellers"])] == ["Buyer", "Seller"]
    said = refused(write(text.replace("buyers: Buyer", "buyers"), "bare.py"))
    assert "market(buyers) could be a population of Buyer, Seller; say which" in said


MAKERS = """
class Deep(Player):
    pass

def mixed(agents: int, levels: str = "0,1", deep: bool = False) -> da.Population:
    if "x" in levels:
        raise ValueError(f"levels={levels}: no")
    levels = [int(level) for level in levels.split(",")]
    return da.Population(Deep if deep else Player, {"level": (levels * agents)[:agents]})

def few() -> da.Population:
    return da.Population(Player, 2)
"""


def test_another_class_or_function_can_make_the_population(write: Write) -> None:
    program = load(write(GAME + MAKERS))
    deep = arguments(program, {"players": "Deep"}, 4)["players"]
    assert (deep.cls.__name__, len(deep)) == ("Deep", 4)
    options = {"players": "mixed", "levels": "3,4", "deep": "yes", "rounds": "2"}
    given = arguments(program, options, 4)
    assert set(given) == {"players", "rounds"}
    assert given["players"].cls.__name__ == "Deep"
    np.testing.assert_array_equal(given["players"].table.columns["level"].values, [3, 4, 3, 4])
    assert len(arguments(program, {"players": "mixed"})["players"]) == 100
    assert len(arguments(program, {"players": "few"})["players"]) == 2


def test_wrong_choices_are_said(write: Write) -> None:
    path = write(GAME + MAKERS)
    said = refused(path, options={"players": "Dep"})
    assert "players=Dep: there is no such class or function" in said
    assert "Player, Deep, mixed, few; did you mean 'Deep'?" in said
    assert "no such class" in refused(path, options={"players": "game"})
    assert "few says itself how many" in refused(path, options={"players": "few"}, agents=3)
    said = refused(path, options={"players": "mixed", "levels": "x"})
    assert "game.py:" in said and "levels=x: no" in said
    assert "has no parameter 'levels'" in refused(path, options={"levels": "1"})
    assert "has no parameter 'agents'" in refused(path, options={"players": "mixed", "agents": "1"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"round": "3"},
            "game has no parameter 'round'; it has players, rounds, ratio; did you mean",
        ),
        ({"rounds": "many"}, "rounds=many: give a whole number"),
        ({"ratio": "2:3"}, "ratio=2:3: give a number, such as 0.5 or 2/3"),
        ({"seed": "3"}, "seed is for the run itself: --seed, not -p"),
        ({"max_failed": "1"}, "--max-failed"),
    ],
)
def test_wrong_options_are_said(write: Write, options: dict[str, str], said: str) -> None:
    assert said in refused(write(), options=options)


def test_numbers_of_agents_that_cannot_be(write: Write) -> None:
    assert "--agents 0: give 1 or more" in refused(write(), agents=0)


def test_a_parameter_without_a_value_is_asked_for(write: Write) -> None:
    text = GAME.replace("rounds: int = 5", "rounds: int")
    assert "game needs rounds: add -p rounds=..." in refused(write(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def game(:\n", "game.py:1: SyntaxError"),
        ("import daskagents\nimport no_such_module\n", "game.py:2: ModuleNotFoundError: No module"),
        ("x = 1\n\n1 / 0\n", "game.py:3: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "game.py:2: ends the program"),
        (
            "def game(players):\n    yield players.reply()\n",
            "there is no agent class for game(players)",
        ),
        ("x = 1\n", "game.py has no workflow; write a generator function"),
        (
            "import daskagents as da\nclass A(da.Agent):\n    seen: list = []\n",
            "game.py:2: FieldError: A.seen",
        ),
    ],
)
def test_files_that_cannot_be_used(write: Write, text: str, said: str) -> None:
    assert said in refused(write(text))


def test_an_error_in_a_file_beside_is_told_where_it_is(write: Write) -> None:
    write("def broken(:\n", "beside.py")
    assert "beside.py:1: SyntaxError" in refused(write("import beside\n"))


def test_a_function_that_never_yields(write: Write) -> None:
    program = load(write(GAME.replace("yield players", "players")))
    with pytest.raises(WorkflowError, match="game is no generator function"):
        da.run(program.workflow, **arguments(program, {}), client="sync")


def test_paths_that_lead_nowhere(write: Write, tmp_path: Path) -> None:
    write()
    assert "gme.py: there is no such file; did you mean 'game.py'?" in refused(
        str(tmp_path / "gme.py")
    )
    assert "is a folder; give the .py file in it" in refused(str(tmp_path))
    assert "is no Python file" in refused(write("{}", "game.json"))
    assert "there is a module 'json' already; rename the file" in refused(write(GAME, "json.py"))


def test_a_file_can_be_loaded_again_after_a_change(write: Write) -> None:
    assert len(arguments(load(write()), {}, 3)["players"]) == 3
    write(GAME.replace("rounds: int = 5", "turns: int = 5"))
    path = write(GAME.replace("rounds", "turns"))
    assert arguments(load(path), {"turns": "2"})["turns"] == 2


def test_what_a_file_defines_need_not_be_there_for_workers(write: Write, client1: Client) -> None:
    """The schema's annotations are texts, its bounds are objects, and a helper is beside it."""
    write("def double(x):\n    return 2 * x\n", "doubling.py")
    text = """
    from __future__ import annotations
    from dataclasses import dataclass
    from typing import Annotated
    from msgspec import Meta
    from doubling import double
    import daskagents as da

    @dataclass(frozen=True)
    class Guess:
        number: Annotated[float, Meta(ge=1, le=2)]

    class Player(da.Agent):
        async def reply(self, message):
            answer = await self.chat("Well?", schema=Guess)
            return {"guess": double(answer.value.number)}

    def afar(players: Player):
        yield players.reply()
    """
    program = load(write(text, "afar.py"))
    given = arguments(program, {}, 50)
    model = da.models.Dummy(answer=None)
    results = da.run(program.workflow, client=client1, model=model, **given)
    assert ((results["guess"] >= 2) & (results["guess"] <= 4)).all()
