"""Answers drawn at random that fit what was asked for."""

from __future__ import annotations

from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from msgspec import inspect

from daskagents.models import kinds

if TYPE_CHECKING:
    from daskagents.rng import Rng


def sample(schema: Any, rng: Rng) -> Any:
    """Draw a value of a type: numbers within their bounds, or from 0 to 100 where they have none.

    Examples
    --------
    >>> import random
    >>> 0 <= sample(float, random.Random(1)) <= 100
    True
    """
    kind = kinds.kind_of(schema)
    drawn = _sample(kind.node, rng)
    return getattr(drawn, kinds.FIELD) if kind.wrapped else drawn


def _sample(node: inspect.Type, rng: Rng) -> Any:
    match node:
        case inspect.DataclassType():
            return node.cls(**{field.name: _sample(field.type, rng) for field in node.fields})
        case inspect.Metadata():
            return _sample(node.type, rng)
        case inspect.UnionType():
            return _sample(kinds.inner(node), rng) if rng.random() < 0.5 else None
        case inspect.VarTupleType():
            fewest, most = kinds.lengths(node, (node.min_length or 0) + 3)
            return tuple(_sample(node.item_type, rng) for _ in range(rng.randint(fewest, most)))
        case inspect.IntType():
            return rng.randint(*kinds.whole(node, kinds.USUAL))
        case inspect.FloatType():
            low, high = kinds.bounds(node, kinds.USUAL)
            value = rng.uniform(low, high)
            return value if low < value < high else (low + high) / 2
        case inspect.EnumType() | inspect.LiteralType():
            return rng.choice(kinds.choices(node))
        case inspect.BoolType():
            return rng.random() < 0.5
    assert isinstance(node, inspect.StrType)
    fewest, most = kinds.lengths(node, kinds.MOST_CHARACTERS)
    return "".join(rng.choice(ascii_lowercase) for _ in range(min(max(fewest, 5), most)))
