"""Values that fit a JSON schema, drawn by chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]
#: How many numbers are drawn from a distribution before one from anywhere is taken.
_TRIES = 32
#: How deep a schema that contains itself is followed; then whatever ends it is preferred.
_DEEP = 4


class Fitting:
    """Draws values that fit a schema.

    Parameters
    ----------
    schema
        The whole schema; its references are looked up in it.
    draws
        Uniform numbers in [0, 1).
    number
        Draws a number that is taken where it fits; None: all that fit are alike.
    choose
        Picks a text, out of those that are given or of any; None, or where what it picks does not
        fit: all that fit are alike.

    Raises
    ------
    ValueError
        By `fit`, if the schema has a form that is not known here.
    """

    def __init__(
        self,
        schema: Schema,
        draws: Iterator[float],
        number: Callable[[], float] | None = None,
        choose: Callable[[list[Any] | None], str] | None = None,
    ) -> None:
        self._schema = schema
        self._draws = draws
        self._number = number
        self._choose = choose

    def fit(self) -> Any:
        """Return a value."""
        try:
            return self._fit(self._schema, 0)
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            said = f"{type(error).__name__}: {error}"
            raise ValueError(f"cannot make what fits this schema ({said})") from None

    def _fit(self, schema: Schema, depth: int) -> Any:
        """Return a value that fits a part of the schema."""
        if "$ref" in schema:
            return self._fit(self._found(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if options := schema.get("enum"):
            return self._one_of(options)
        if options := schema.get("anyOf") or schema.get("oneOf"):
            return self._fit(self._branch(options, depth), depth + 1)
        if parts := schema.get("allOf"):
            merged: Schema = {}
            for part in parts:
                merged |= self._found(part["$ref"]) if "$ref" in part else part
            return self._fit(merged, depth + 1)
        return self._fit_type(schema, depth)

    def _fit_type(self, schema: Schema, depth: int) -> Any:
        """Return a value of the type that a schema names."""
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = kind[int(next(self._draws) * len(kind))]
        match kind:
            case "object":
                parts = schema.get("properties", {})
                return {name: self._fit(part, depth + 1) for name, part in parts.items()}
            case "array":
                return self._array(schema, depth)
            case "number" | "integer":
                return self._a_number(schema, kind == "integer")
            case "boolean":
                return next(self._draws) < 0.5
            case "null":
                return None
            case "string":
                return self._a_text(schema)
        raise TypeError(f"no such type: {kind}")

    def _found(self, reference: str) -> Schema:
        """Return the part of the schema that a reference names."""
        found = self._schema
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
        return found

    def _one_of(self, options: list[Any]) -> Any:
        """Return one of several constants."""
        if self._choose is not None and (chosen := self._choose(options)) in options:
            return chosen
        return options[int(next(self._draws) * len(options))]

    def _branch(self, options: list[Schema], depth: int) -> Schema:
        """Return one of several schemas; deep down, one that ends."""
        if depth > _DEEP:
            options = [one for one in options if "$ref" not in one] or options
        return options[int(next(self._draws) * len(options))]

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        """Return a list of the length that a schema asks for, or of up to 3 more than it must."""
        first = [self._fit(part, depth + 1) for part in schema.get("prefixItems", ())]
        if not isinstance(schema.get("items"), dict):
            return first
        fewest = schema.get("minItems", 0)
        most = fewest if depth > _DEEP else schema.get("maxItems", fewest + 3)
        count = fewest + int(next(self._draws) * (most - fewest + 1)) - len(first)
        return first + [self._fit(schema["items"], depth + 1) for _ in range(count)]

    def _a_number(self, schema: Schema, whole: bool) -> float:
        """Return a number within the bounds of a schema, 0 and 100 where it has none."""
        low, high = _bounds(schema)
        step = schema.get("multipleOf", 1 if whole else None)
        if self._number is not None:
            for _ in range(_TRIES):
                value = _rounded(self._number(), step)
                if low <= value <= high and _inside(value, schema):
                    return value
        draw = next(self._draws)
        if step is not None:
            first, last = math.ceil(low / step), math.floor(high / step)
            first += first * step == schema.get("exclusiveMinimum")
            last -= last * step == schema.get("exclusiveMaximum")
            return _rounded((first + int(draw * (last - first + 1))) * step, step)
        value = low + draw * (high - low)
        short = round(value, 2)
        return float(short if low < short < high else value)

    def _a_text(self, schema: Schema) -> str:
        """Return a word of the length that a schema asks for."""
        fewest, most = schema.get("minLength", 0), schema.get("maxLength")
        word = self._choose(None) if self._choose else f"word{int(next(self._draws) * 1000)}"
        return word.ljust(fewest, "x")[:most]


def _bounds(schema: Schema) -> tuple[float, float]:
    """Return the least and the greatest number, 0 and 100 where there is none."""
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        low = 0 if high is None or high > 0 else high - 100
    if high is None:
        high = max(100, low + 100)
    return low, high


def _inside(value: float, schema: Schema) -> bool:
    """Whether a number is none that the schema excludes."""
    return value not in (schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum"))


def _rounded(value: float, step: float | None) -> float:
    """Return a number with two decimals, or the next multiple of a step."""
    if step is None:
        return float(round(value, 2))
    multiple = round(value / step) * step
    return int(multiple) if isinstance(step, int) else float(multiple)
