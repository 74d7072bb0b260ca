import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from worlds import Player, Waiter

import daskagents as da
from daskagents.errors import WorkflowError
from daskagents.workflow import bind, describe_workflow

if TYPE_CHECKING:
    from nowhere import Something


def game(players: Player, rounds: int = 5, ratio: float = 0.5, name: str = "", on: bool = True):  # type: ignore[no-untyped-def]
    yield {"rounds": rounds}


def loose(players, *others, rounds=5, **more):  # type: ignore[no-untyped-def]
    yield None


def typed(people: Any, *counts: int, **ratios: float) -> Iterator[Any]:
    yield None


def checked(players: "Something", rounds: int = 3) -> Iterator[Any]:
    yield None


class Games:
    def game(self, players: Any, rounds: int = 2) -> Iterator[Any]:
        yield {"rounds": rounds}


def no_yield(players: Any) -> None:
    return None


PEOPLE = da.Population(Player, 3)


@pytest.mark.parametrize(
    ("workflow", "words"),
    [
        (no_yield, "no_yield is no generator function.* write `yield` where a round ends"),
        (game(PEOPLE), r"give the function itself: da.run\(game, ...\), and not game\(...\)"),
        (PEOPLE, "is no generator function"),
        ("game", "'game' is no generator function"),
        (None, "is no generator function"),
    ],
)
def test_what_is_no_workflow(workflow: Any, words: str) -> None:
    with pytest.raises(WorkflowError, match=words):
        bind(workflow, (PEOPLE,), {})
    with pytest.raises(TypeError):  # as Python would say it
        bind(workflow, (PEOPLE,), {})


@pytest.mark.parametrize(
    ("args", "options", "words"),
    [
        ((), {}, "missing a required argument: 'players'"),
        ((PEOPLE,), {"round": 3}, "no parameter 'round' .*did you mean 'rounds'"),
        ((PEOPLE,), {"zzz": 3}, r"no parameter 'zzz' \(it has players, rounds, ratio"),
        ((PEOPLE, 1, 2.0, "", True, 6), {}, "too many positional"),
        ((PEOPLE,), {"players": PEOPLE}, "multiple values"),
        ((PEOPLE,), {"rounds": "5"}, "rounds is int, and '5' is str"),
        ((PEOPLE,), {"rounds": 5.0}, "rounds is int, and 5.0 is float"),
        ((PEOPLE,), {"rounds": True}, "rounds is int, and True is bool"),
        ((PEOPLE,), {"ratio": False}, "ratio is float, and False is bool"),
        ((PEOPLE,), {"ratio": "half"}, "ratio is float, and 'half' is str"),
        ((PEOPLE,), {"name": 3}, "name is str, and 3 is int"),
        ((PEOPLE,), {"on": 1}, "on is bool, and 1 is int"),
        ((30,), {}, r"players is a population of Player, not 30; give da.Population\(Player"),
    ],
)
def test_parameters_are_checked(args: Any, options: Any, words: str) -> None:
    with pytest.raises(WorkflowError, match=words):
        bind(game, args, options)


def test_values_are_taken_for_what_they_are() -> None:
    bound = bind(
        game, (PEOPLE,), {"rounds": np.int64(3), "ratio": np.float32(0.5), "on": np.False_}
    )
    assert list(bound.arguments.values())[1:] == [3, 0.5, "", False]
    assert [type(v) for v in list(bound.arguments.values())[1:]] == [int, float, str, bool]
    ratio = bind(game, (PEOPLE,), {"ratio": 2}).arguments["ratio"]
    assert (ratio, type(ratio)) == (2.0, float)
    named = da.spawn(Player())
    assert bind(game, (named,), {}).arguments["players"] is named


def test_what_is_not_annotated_is_not_checked() -> None:
    bound = bind(loose, (PEOPLE, 1, "b"), {"rounds": "x", "more": 3})
    assert bound.arguments["others"] == (1, "b") and bound.arguments["more"] == {"more": 3}
    assert bind(typed, (PEOPLE, 1, 2), {"half": 0.5}).args == (PEOPLE, 1, 2)
    # a name that only a type checker knows hides no other
    with pytest.raises(WorkflowError, match="rounds is int"):
        bind(checked, (PEOPLE,), {"rounds": "3"})


def test_methods_and_partials_are_workflows() -> None:
    people = da.Population(Waiter, 3)
    for workflow in (Games().game, functools.partial(Games().game, rounds=2)):
        assert da.run(workflow, people, client="sync")["rounds"].values.tolist() == [2]
    partial = functools.partial(game, rounds=7)
    assert da.run(partial, PEOPLE, client="sync")["rounds"].values.tolist() == [7]
    with pytest.raises(WorkflowError, match="game has no parameter 'rnds'"):
        bind(partial, (PEOPLE,), {"rnds": 3})
    assert describe_workflow(partial, {})["name"] == "game"


def test_a_workflow_is_described_by_what_can_be_written_down() -> None:
    options = {
        "players": PEOPLE, "n": 3, "x": np.float64(0.5), "names": ("a", ["b"]), "m": {"k": None},
        "odd": object(), "mixed": [object()], "keys": {1: 2},
    }  # fmt: skip
    about = describe_workflow(game, options)
    assert about["parameters"] == {"n": 3, "x": 0.5, "names": ["a", ["b"]], "m": {"k": None}}
    assert about["name"] == "game" and about["file"] == __file__ and len(about["digest"]) == 32
    assert about["digest"] != describe_workflow(loose, {})["digest"]
