"""What a model is to answer with, as a JSON schema; and its answers, read and checked."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import inspect

from daskagents.errors import AnswerError
from daskagents.models.kinds import FIELD, Kind, choices, inner, kind_of
from daskagents.models.text import first_object, shorten


def json_schema(schema: Any) -> dict[str, Any]:
    """Return the JSON schema of what a model can answer with, as strict structured outputs want it.

    All is inlined, every field is required and none may be added. Bounds on the length of a str
    are left out, since not every endpoint takes them; `read` still sees to them. It is always an
    object: what is no dataclass is its only field.

    Examples
    --------
    >>> from dataclasses import make_dataclass
    >>> Guess = make_dataclass("Guess", [("number", float)], frozen=True)
    >>> json_schema(Guess)["properties"]
    {'number': {'type': 'number'}}
    >>> json_schema(bool)["properties"]
    {'answer': {'type': 'boolean'}}
    """
    return _json_schema(kind_of(schema).node)


def read(text: str, schema: Any) -> Any:
    """Read the answer of a model.

    Parameters
    ----------
    text
        The JSON object, or a text in which the first ``{...}`` is it. Of a type that is no
        dataclass, the bare value will do.
    schema
        What the answer is to be; see `daskagents.models.kinds.kind_of`.

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
    >>> read('{"answer": 33}', float), read("33", float)
    (33.0, 33.0)
    """
    kind = kind_of(schema)
    try:
        found = kind.decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return _read_within(text, kind, str(error))
    return getattr(found, FIELD) if kind.wrapped else found


def _read_within(text: str, kind: Kind, problem: str) -> Any:
    """Read an answer that is not alone in its text, or that stands there without its object."""
    part = first_object(text)
    try:
        if part is not None and part != text.strip():
            found = kind.decoder.decode(part)
            return getattr(found, FIELD) if kind.wrapped else found
        if kind.wrapped and "{" not in text:
            return _bare(text.strip(), kind)
    except (msgspec.DecodeError, RecursionError) as error:
        problem = str(error)
    wanted = json.dumps(_json_schema(kind.node)["properties"])
    raise AnswerError(
        f"the answer does not fit {kind.name}: {problem}; "
        f"expected an object of {shorten(wanted, 400)}, got {shorten(text)!r}"
    )


def _bare(text: str, kind: Kind) -> Any:
    """Read a value without an object around it, as JSON or as the words themselves."""
    try:
        found = kind.decoder.decode(f'{{"{FIELD}":{text}}}')
    except msgspec.DecodeError:
        found = msgspec.convert({FIELD: text}, kind.decoder.type, strict=False)
    return getattr(found, FIELD)


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
