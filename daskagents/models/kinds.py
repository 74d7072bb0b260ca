"""The types that a model can answer with, as msgspec describes them, checked once."""

from __future__ import annotations

import copyreg
import functools
import math
from dataclasses import is_dataclass, make_dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec import inspect

from daskagents.errors import UsageError

Number: TypeAlias = inspect.FloatType | inspect.IntType

#: Characters of a str that nothing bounds.
MOST_CHARACTERS = 200
#: The range of a number that nothing bounds.
USUAL = (0, 100)
#: The one field of the object that stands for a type that is no dataclass.
FIELD = "answer"

_CURE = (
    "use float, int, bool, str, an Enum, a Literal, X | None, tuple[X, ...] or a frozen dataclass"
)


class Kind(NamedTuple):
    """What is worked out once for a type that a model can answer with.

    Parameters
    ----------
    type
        The type as it was given.
    name
        What it is called in errors.
    node
        The object that is asked for: the dataclass, or one with the type as its only field.
    decoder
        Reads that object.
    wrapped
        Whether the object has the type as its only field.
    """

    type: Any
    name: str
    node: inspect.DataclassType
    decoder: msgspec.json.Decoder[Any]
    wrapped: bool


def kind_of(schema: Any) -> Kind:
    """Return what is known of a type that a model can answer with.

    Parameters
    ----------
    schema
        A frozen dataclass of float, int, bool, str, Enum, Literal, ``X | None``,
        ``tuple[X, ...]`` and further frozen dataclasses; or one of these alone.
        ``Annotated[float, msgspec.Meta(ge=0)]`` sets bounds, also on the length of a str or tuple.

    Raises
    ------
    UsageError
        If it is something else, or one of its fields is; the error names the field.

    Examples
    --------
    >>> kind_of(dict)
    Traceback (most recent call last):
    daskagents.errors.UsageError: schema dict: dict has no schema; use float, int, bool, str, \
an Enum, a Literal, X | None, tuple[X, ...] or a frozen dataclass
    """
    try:
        return _kind_of(schema)
    except TypeError:  # it has no hash
        raise UsageError(f"schema {schema!r} is no type; {_CURE}") from None


@lru_cache(256)
def _kind_of(schema: Any) -> Kind:
    name = _name(schema)
    wrapped = not (isinstance(schema, type) and is_dataclass(schema))
    try:
        asked = make_dataclass("Answer", [(FIELD, schema)], frozen=True) if wrapped else schema
        node = inspect.type_info(asked)
        decoder = msgspec.json.Decoder(asked)
    except (NameError, TypeError, ValueError) as error:
        raise UsageError(f"schema {name}: {error}; {_CURE}") from None
    assert isinstance(node, inspect.DataclassType)
    if wrapped:
        _check_type(node.fields[0].type, name, ())
    else:
        _check_fields(node, name, ())
    return Kind(schema, name, node, decoder, wrapped)


def _name(schema: Any) -> str:
    """Return what a type is called."""
    return schema.__name__ if isinstance(schema, type) else repr(schema).replace("typing.", "")


def _is_frozen(cls: Any) -> bool:
    """Tell whether a dataclass is frozen."""
    return bool(cls.__dataclass_params__.frozen)


def _check_fields(node: inspect.DataclassType, where: str, within: tuple[type, ...]) -> None:
    """Refuse the fields that have no schema."""
    if node.cls in within:
        raise UsageError(f"schema {where}: {node.cls.__name__} holds itself; {_CURE}")
    if not _is_frozen(node.cls):
        raise UsageError(f"schema {where}: {node.cls.__name__} is not frozen; {_CURE}")
    for field in node.fields:
        _check_type(field.type, f"{where}.{field.name}", (*within, node.cls))


def _check_type(node: inspect.Type, where: str, within: tuple[type, ...]) -> None:
    match node:
        case inspect.Metadata() | inspect.UnionType():
            _check_type(inner(node, where), where, within)
        case inspect.VarTupleType():
            _check_type(node.item_type, where, within)
        case inspect.DataclassType():
            _check_fields(node, where, within)
        case inspect.FloatType() | inspect.IntType():
            _check_number(node, where)
        case inspect.StrType():
            if node.pattern is not None:
                raise UsageError(f"schema {where}: a pattern cannot be asked for")
        case inspect.BoolType() | inspect.EnumType() | inspect.LiteralType():
            pass
        case _:
            kind = type(node).__name__.removesuffix("Type").lower()
            raise UsageError(f"schema {where}: {kind} has no schema; {_CURE}")


def _check_number(node: Number, where: str) -> None:
    """Refuse bounds that leave no number."""
    if node.multiple_of is not None:
        raise UsageError(f"schema {where}: multiple_of cannot be asked for")
    low, high = bounds(node, USUAL)
    first, last = whole(node, USUAL)
    is_open = node.gt is not None or node.lt is not None
    empty = first > last if isinstance(node, inspect.IntType) else low > high - is_open * 1e-12
    if empty:
        raise UsageError(f"schema {where}: there is no number between its bounds")


def inner(node: inspect.Metadata | inspect.UnionType, where: str = "") -> inspect.Type:
    """Return the type that is annotated, or that may be None."""
    if isinstance(node, inspect.Metadata):
        return node.type
    types = [one for one in node.types if not isinstance(one, inspect.NoneType)]
    if len(types) != 1 or len(node.types) != 2:
        raise UsageError(f"schema {where}: of unions there is only X | None; {_CURE}")
    return types[0]


def bounds(node: Number, usual: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of a number's range, those of the `usual` range where it has none."""
    span = usual[1] - usual[0]
    low = node.gt if node.ge is None else node.ge
    high = node.lt if node.le is None else node.le
    if low is None:
        low = usual[0] if high is None or high > usual[0] else high - span
    if high is None:
        high = usual[1] if low < usual[1] else low + span
    return low, high


def whole(node: Number, usual: tuple[float, float]) -> tuple[int, int]:
    """Return the first and the last whole number within the bounds."""
    low, high = bounds(node, usual)
    first = math.ceil(low) if node.gt is None else math.floor(low) + 1
    last = math.floor(high) if node.lt is None else math.ceil(high) - 1
    return first, last


def lengths(node: inspect.StrType | inspect.VarTupleType, most: int) -> tuple[int, int]:
    """Return the bounds of a length, the upper one at least `most` where there is none."""
    fewest = node.min_length or 0
    return fewest, max(fewest, most) if node.max_length is None else node.max_length


def choices(node: inspect.EnumType | inspect.LiteralType) -> list[Any]:
    """Return what there is to choose from: the members of an Enum, the values of a Literal."""
    return list(node.cls if isinstance(node, inspect.EnumType) else node.values)


def _reduce_meta(meta: msgspec.Meta) -> tuple[Any, tuple[()]]:
    """Say how bounds in a schema are pickled, for msgspec does not."""
    given = {name: value for name, value in meta.__rich_repr__() if value is not None}
    return functools.partial(msgspec.Meta, **given), ()


copyreg.pickle(msgspec.Meta, _reduce_meta)
