"""What a model is to answer with, as a grammar that llama.cpp holds it to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import inspect

from daskagents.models import kinds

#: Elements of a tuple that nothing bounds.
MOST_ELEMENTS = 8
#: The range of a number that nothing bounds.
WIDE = (-999_999, 999_999)


def grammar(schema: Any) -> str:
    r"""Return the grammar (GBNF) of the JSON of what a model can answer with, without blanks.

    Its texts are all read by `daskagents.models.schema.read`, and each is bounded, so that a model
    cannot go on for ever: where a bound says nothing else, numbers have six digits and two
    decimals at most, a str 200 characters and a tuple 8 elements.

    Raises
    ------
    UsageError
        If it is no schema.

    Examples
    --------
    >>> from dataclasses import make_dataclass
    >>> print(grammar(make_dataclass("Vote", [("yes", bool)], frozen=True)))
    root ::= "{\"yes\":" ("true" | "false") "}"
    """
    rules: dict[str, str] = {}
    root = _term(kinds.kind_of(schema).node, rules)
    return "\n".join(f"{name} ::= {body}" for name, body in [("root", root), *rules.items()])


def _term(node: inspect.Type, rules: dict[str, str]) -> str:
    """Return the expression of a type, adding the rules that it needs."""
    match node:
        case inspect.DataclassType():
            return _object(node, rules)
        case inspect.Metadata():
            return _term(node.type, rules)
        case inspect.UnionType():
            return f'({_term(kinds.inner(node), rules)} | "null")'
        case inspect.VarTupleType():
            return _array(node, rules)
        case inspect.EnumType() | inspect.LiteralType():
            return _either(_literal(msgspec.json.encode(c).decode()) for c in kinds.choices(node))
        case inspect.BoolType():
            return '("true" | "false")'
        case inspect.IntType():
            return _either(_integers(*kinds.whole(node, WIDE)))
        case inspect.FloatType():
            return _either(_decimals(node))
    assert isinstance(node, inspect.StrType)
    fewest, most = kinds.lengths(node, kinds.MOST_CHARACTERS)
    character = _rule(r'[^"\\\x00-\x1F\x7F] | "\\" ["\\n]', rules)
    return rf'"\"" {character}{{{fewest},{most}}} "\""'


def _object(node: inspect.DataclassType, rules: dict[str, str]) -> str:
    """Return the expression of an object, its keys in order."""
    parts = []
    for opening, field in zip("{" + "," * len(node.fields), node.fields, strict=False):
        parts += [_literal(f"{opening}{json.dumps(field.name)}:"), _term(field.type, rules)]
    return " ".join([*parts, _literal("}" if parts else "{}")])


def _array(node: inspect.VarTupleType, rules: dict[str, str]) -> str:
    """Return the expression of an array."""
    fewest, most = kinds.lengths(node, MOST_ELEMENTS)
    if not most:
        return _literal("[]")
    item = _rule(_term(node.item_type, rules), rules)
    items = f'{item} ("," {item}){{{max(fewest, 1) - 1},{most - 1}}}'
    return f'"[" {items} "]"' if fewest else f'"[" ({items})? "]"'


def _rule(body: str, rules: dict[str, str]) -> str:
    """Return the name of a rule; llama.cpp refuses large groups that repeat, but not rules."""
    for name, known in rules.items():
        if known == body:
            return name
    name = f"rule{len(rules)}"
    rules[name] = body
    return name


def _literal(text: str) -> str:
    """Return the expression of one text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _either(parts: Iterable[str]) -> str:
    """Return the expression of a choice."""
    return f"({' | '.join(parts)})"


def _decimals(node: inspect.FloatType) -> list[str]:
    """Return the choices of a float: whole numbers, and some with one or two decimals."""
    low, high = kinds.bounds(node, WIDE)
    if high - low < 2:
        return _evenly(node, low, high)
    # Between two whole numbers all lies within the bounds, whether they are strict or not.
    first, last = kinds.whole(inspect.FloatType(ge=low, le=high), WIDE)
    choices = _integers(*kinds.whole(node, WIDE))
    decimals = '"." [0-9]? [1-9]'
    if below := _naturals(max(0, -last), -first - 1):
        choices.append(f'"-" {_either(below)} {decimals}')
    if above := _naturals(max(0, first), last - 1):
        choices.append(f"{_either(above)} {decimals}")
    return choices


def _evenly(node: inspect.FloatType, low: float, high: float) -> list[str]:
    """Return numbers spread evenly over a short range."""
    spread = [low + (high - low) * part / 20 for part in range(21)]
    if node.gt is not None:
        spread = [value for value in spread if value > low]
    if node.lt is not None:
        spread = [value for value in spread if value < high]
    return list(dict.fromkeys(_literal(json.dumps(min(value, high))) for value in spread))


def _integers(first: int, last: int) -> list[str]:
    """Return choices that make up the whole numbers from `first` to `last`."""
    negative = _naturals(max(1, -last), -first)
    positive = _naturals(max(0, first), last)
    return [f'"-" {_either(negative)}', *positive] if negative else positive


def _naturals(first: int, last: int) -> list[str]:
    """Return choices that make up the natural numbers from `first` to `last`."""
    choices = []
    for length in range(len(str(first)), len(str(max(last, 0))) + 1):
        low = max(first, 10 ** (length - 1) if length > 1 else 0)
        high = min(last, 10**length - 1)
        if low <= high:
            choices += _digits(str(low), str(high))
    return choices


def _digits(low: str, high: str) -> list[str]:
    """Return choices that make up the numbers between two of the same length."""
    rest = len(low) - 1
    if not rest:
        return [f"[{low}-{high}]"]
    first, last = int(low[0]), int(high[0])
    if first == last:
        return [f'"{first}" {_either(_digits(low[1:], high[1:]))}']
    choices = []
    if int(low[1:]):
        choices.append(f'"{first}" {_either(_digits(low[1:], "9" * rest))}')
        first += 1
    if high[1:] != "9" * rest:
        choices.append(f'"{last}" {_either(_digits("0" * rest, high[1:]))}')
        last -= 1
    return [*choices, f"[{first}-{last}] [0-9]{{{rest}}}"] if first <= last else choices
