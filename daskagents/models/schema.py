"""What a model is to answer with: a frozen dataclass, its JSON schema and its instances."""

from __future__ import annotations

import copyreg
import functools
import json
import math
from dataclasses import is_dataclass
from functools import lru_cache
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar, cast

import msgspec
from msgspec import inspect

from daskagents.errors import AnswerError, UsageError

if TYPE_CHECKING:
    from daskagents.rng import Rng

T = TypeVar("T")
Number: TypeAlias = inspect.FloatType | inspect.IntType

#: Characters of a str that nothing bounds.
MOST_CHARACTERS = 200
#: The range of a number that nothing bounds.
USUAL = (0, 100)

_CURE = (
    "use float, int, bool, str, an Enum, a Literal, X | None, tuple[X, ...] or a frozen dataclass"
)


def check(cls: type[Any]) -> None:
    """Raise a `UsageError` unless a model can answer with an instance of `cls`.

    Parameters
    ----------
    cls
        A frozen dataclass of float, int, bool, str, Enum, Literal, ``X | None``,
        ``tuple[X, ...]`` and further frozen dataclasses. ``Annotated[float, msgspec.Meta(ge=0)]``
        sets bounds, also on the length of a str or tuple.

    Raises
    ------
    UsageError
        If it is something else, or one of its fields is; the error names the field.

    Examples
    --------
    >>> check(dict)
    Traceback (most recent call last):
    daskagents.errors.UsageError: schema=dict: a schema is a frozen dataclass
    """
    node_of(cls)


def json_schema(cls: type[Any]) -> dict[str, Any]:
    """Return the JSON schema of a frozen dataclass, as strict structured outputs want it.

    All is inlined, every field is required and none may be added. Bounds on the length of a str
    are left out, since not every endpoint takes them; `read` still sees to them.

    Examples
    --------
    >>> from dataclasses import make_dataclass
    >>> Guess = make_dataclass("Guess", [("number", float)], frozen=True)
    >>> json_schema(Guess)["properties"]
    {'number': {'type': 'number'}}
    """
    return _json_schema(node_of(cls))


def read(text: str, cls: type[T]) -> T:
    """Read the answer of a model.

    Parameters
    ----------
    text
        The JSON object, or a text in which the first ``{...}`` is it.
    cls
        A frozen dataclass.

    Raises
    ------
    AnswerError
        If there is no object, or it does not fit.

    Examples
    --------
    >>> from dataclasses import make_dataclass
    >>> Guess = make_dataclass("Guess", [("number", float)], frozen=True)
    >>> read('I say {"number": 33}.', Guess)
    Guess(number=33.0)
    """
    decoder: msgspec.json.Decoder[T] = _form(cls).decoder
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        problem = str(error)
    part = _first_object(text)
    if part is not None and part != text.strip():
        try:
            return decoder.decode(part)
        except (msgspec.DecodeError, RecursionError) as error:
            problem = str(error)
    wanted = json.dumps(json_schema(cls)["properties"])
    raise AnswerError(
        f"the answer does not fit {cls.__name__}: {problem}; "
        f"expected an object of {shorten(wanted, 400)}, got {shorten(text)!r}"
    )


def sample(cls: type[T], rng: Rng) -> T:
    """Draw an instance: numbers within their bounds, or from 0 to 100 where they have none.

    Examples
    --------
    >>> import random
    >>> from dataclasses import make_dataclass
    >>> Guess = make_dataclass("Guess", [("number", float)], frozen=True)
    >>> 0 <= sample(Guess, random.Random(1)).number <= 100
    True
    """
    return cast(T, _sample(node_of(cls), rng))


def shorten(text: str, most: int = 200) -> str:
    """Return `text`, or its beginning and how much is left out."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} more)"


def _first_object(text: str) -> str | None:
    """Return the first ``{...}`` that is JSON, if that is what begins at the first brace."""
    start = text.find("{")
    try:
        return text[start : json.JSONDecoder().raw_decode(text, start)[1]] if start >= 0 else None
    except (ValueError, RecursionError):
        return None


class _Form(NamedTuple):
    """What is worked out once for a schema."""

    node: inspect.DataclassType
    decoder: msgspec.json.Decoder[Any]


def node_of(cls: type[Any]) -> inspect.DataclassType:
    """Return the checked description of a schema."""
    return _form(cls).node


def _form(cls: type[Any]) -> _Form:
    """Return what is known of a schema, worked out on first use."""
    if not _is_frozen(cls):
        name = getattr(cls, "__name__", repr(cls))
        raise UsageError(f"schema={name}: a schema is a frozen dataclass")
    return _new_form(cls)  # type: ignore[arg-type]  # classes are hashable


@lru_cache(256)
def _new_form(cls: type[Any]) -> _Form:
    try:
        node = inspect.type_info(cls)
        decoder = msgspec.json.Decoder(cls)
    except (NameError, TypeError, ValueError) as error:
        raise UsageError(f"schema={cls.__name__}: {error}") from None
    assert isinstance(node, inspect.DataclassType)
    _check_fields(node, cls.__name__, ())
    return _Form(node, decoder)


def _is_frozen(cls: Any) -> bool:
    """Tell whether something is a frozen dataclass."""
    if not (isinstance(cls, type) and is_dataclass(cls)):
        return False
    return bool(cls.__dataclass_params__.frozen)  # type: ignore[attr-defined]


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


def _json_schema(node: inspect.Type) -> dict[str, Any]:
    match node:
        case inspect.DataclassType():
            return {
                "type": "object",
                "properties": {field.name: _json_schema(field.type) for field in node.fields},
                "required": [field.name for field in node.fields],
                "additionalProperties": False,
            }
        case inspect.Metadata():
            return {**_json_schema(node.type), **(node.extra_json_schema or {})}
        case inspect.UnionType():
            return {"anyOf": [_json_schema(inner(node)), {"type": "null"}]}
        case inspect.VarTupleType():
            items = {"type": "array", "items": _json_schema(node.item_type)}
            return {**items, **_given(minItems=node.min_length, maxItems=node.max_length)}
        case inspect.FloatType() | inspect.IntType():
            return {
                "type": "number" if isinstance(node, inspect.FloatType) else "integer",
                **_given(minimum=node.ge, exclusiveMinimum=node.gt),
                **_given(maximum=node.le, exclusiveMaximum=node.lt),
            }
        case inspect.EnumType() | inspect.LiteralType():
            return _enumeration([msgspec.to_builtins(choice) for choice in choices(node)])
        case inspect.BoolType():
            return {"type": "boolean"}
    return {"type": "string"}


def _given(**limits: float | None) -> dict[str, float]:
    """Return the limits that there are."""
    return {name: limit for name, limit in limits.items() if limit is not None}


def _enumeration(values: list[Any]) -> dict[str, Any]:
    """Return the schema of a choice, with its type where it has one."""
    names = {str: "string", int: "integer"}
    kinds = {names.get(type(value)) for value in values}
    kind = {"type": kinds.pop()} if len(kinds) == 1 else {}
    return {**kind, "enum": values}


def _sample(node: inspect.Type, rng: Rng) -> Any:
    match node:
        case inspect.DataclassType():
            return node.cls(**{field.name: _sample(field.type, rng) for field in node.fields})
        case inspect.Metadata():
            return _sample(node.type, rng)
        case inspect.UnionType():
            return _sample(inner(node), rng) if rng.random() < 0.5 else None
        case inspect.VarTupleType():
            fewest, most = lengths(node, (node.min_length or 0) + 3)
            return tuple(_sample(node.item_type, rng) for _ in range(rng.randint(fewest, most)))
        case inspect.IntType():
            return rng.randint(*whole(node, USUAL))
        case inspect.FloatType():
            low, high = bounds(node, USUAL)
            value = rng.uniform(low, high)
            return value if low < value < high else (low + high) / 2
        case inspect.EnumType() | inspect.LiteralType():
            return rng.choice(choices(node))
        case inspect.BoolType():
            return rng.random() < 0.5
    assert isinstance(node, inspect.StrType)
    fewest, most = lengths(node, MOST_CHARACTERS)
    return "".join(rng.choice(ascii_lowercase) for _ in range(min(max(fewest, 5), most)))


def _reduce_meta(meta: msgspec.Meta) -> tuple[Any, tuple[()]]:
    """Say how bounds in a schema are pickled, for msgspec does not."""
    given = {name: value for name, value in meta.__rich_repr__() if value is not None}
    return functools.partial(msgspec.Meta, **given), ()


copyreg.pickle(msgspec.Meta, _reduce_meta)
