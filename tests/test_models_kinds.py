from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any, Literal

import msgspec
import pytest
from test_models_schema import Everything, Guess, Side, bounded, form

from daskagents.errors import UsageError
from daskagents.models.kinds import kind_of


@dataclass
class Loose:
    number: float


@dataclass(frozen=True)
class Endless:
    more: tuple[Endless, ...]


@pytest.mark.parametrize(
    ("cls", "problem"),
    [
        (dict, "schema dict: dict has no schema; use float"),
        ({"type": "object"}, "schema {'type': 'object'} is no type; use float"),
        (Guess(3.0), "schema Guess(number=3.0): "),
        ("Nowhere", "schema 'Nowhere': "),
        (int | str, "schema int | str: of unions there is only X"),
        (Annotated[int, msgspec.Meta(ge=3, lt=3)], "there is no number between its bounds"),
        (Loose, "schema Loose: Loose is not frozen"),
        (Endless, "Endless.more: Endless holds itself"),
        (form(list[int]), "Form.part: list has no schema; use float"),
        (form(dict[str, int]), "Form.part: dict has no schema"),
        (form(bytes), "Form.part: bytes has no schema"),
        (form(Any), "Form.part: any has no schema"),
        (form(object), "Form.part: custom has no schema"),
        (form(int | str), "Form.part: of unions there is only X"),
        (form(tuple[int, str]), "Form.part: tuple has no schema"),
        (form(tuple[dict[str, int], ...]), "Form.part: dict has no schema"),
        (form(Loose), "Form.part: Loose is not frozen"),
        (form("Nowhere"), "Nowhere"),
        (form(bounded(int, 3, 4, (True, True))), "Form.part: there is no number"),
        (form(bounded(float, 4, 3, (False, False))), "Form.part: there is no number"),
        (form(bounded(float, 3, 3, (True, False))), "Form.part: there is no number"),
        (form(Annotated[int, msgspec.Meta(multiple_of=2)]), "Form.part: multiple_of"),
        (form(Annotated[str, msgspec.Meta(pattern="a+")]), "Form.part: a pattern"),
    ],
)
def test_what_is_wrong_is_named(cls: Any, problem: str) -> None:
    with pytest.raises(UsageError) as error:
        kind_of(cls)
    assert problem in str(error.value)


def test_everything_is_taken() -> None:
    kind_of(Everything)
    kind_of(make_dataclass("Empty", [], frozen=True))
    for kind in (int, float, bool, str, Side, Literal["a", 1], int | None, tuple[Guess, ...]):
        assert kind_of(kind).wrapped
    assert not kind_of(Guess).wrapped


def test_a_kind_is_worked_out_once() -> None:
    assert kind_of(Annotated[int, msgspec.Meta(ge=1)]) is kind_of(
        Annotated[int, msgspec.Meta(ge=1)]
    )
    assert kind_of(int) is not kind_of(float)
