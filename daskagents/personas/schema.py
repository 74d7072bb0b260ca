"""The JSON schema of population files, for editors: made from what the parser knows.

``schema.json`` beside this file is its output; a test compares them. After a change of the parser::

    python -m daskagents.personas.schema
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from daskagents.personas.kinds import BOUNDS
from daskagents.personas.numbers import FAMILIES
from daskagents.personas.parsing import BOUNDED, BRANCHED, JOINT, READERS, TOP

PATH = Path(__file__).with_name("schema.json")

_NUMBER = {"type": "number"}
_SCALAR = {"type": ["string", "number", "boolean"]}
_SHARE = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": "[/%]"}]}
_NAMES = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_WORDS = {
    "proportions": "Shares of values, which add up to 1. Counts of people are exact.",
    "weights": "Shares of values, which need not add up to 1: counts of a census, say.",
    "joint": "Several fields (`sex, region:`) together: a level for each, or a file with a weight.",
    "microdata": "Rows of a survey, drawn by weights, which marginals may rake.",
    "normal": "Cut off at min and max.",
    "lognormal": "By median and sigma, mu and sigma, or mean and sd of the values.",
    "uniform": "Between min and max; both can occur.",
    "exponential": "By mean or rate.",
    "poisson": "Whole numbers by their mean.",
    "constant": "One value for all.",
    "sequence": "1, 2, 3, ... by start and step.",
    "expression": "Arithmetic over earlier fields, such as income * 0.7 if age < 30 else income.",
    "template": "A text with {names} of earlier fields.",
    "name": "Names of people by locale, such as de_DE.",
}


def make_schema() -> dict[str, Any]:
    """Return the schema.

    Examples
    --------
    >>> sorted(make_schema()["properties"])
    ['description', 'distributions', 'fields', 'persona', 'population', 'seed', 'size']
    """
    top: dict[str, Any] = {
        "size": {"type": "integer", "minimum": 1, "description": "How many people."},
        "seed": {"type": "integer", "description": "What everything random follows from."},
        "fields": {
            "type": "object",
            "minProperties": 1,
            "description": "A field for each property; a field may use those above it.",
            "additionalProperties": {"anyOf": [_SCALAR, *map(_field, READERS)]},
        },
        "persona": {"type": "string", "description": "A text with {names} of fields."},
        "description": {"description": "For readers."},
    }
    assert tuple(top) == TOP
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A population of daskagents",
        "type": "object",
        "properties": {
            **top,
            "population": {"type": "integer", "minimum": 1},
            "distributions": {"type": ["array", "object"]},
        },
        "additionalProperties": False,
        "anyOf": [
            {"required": ["size", "fields"]},
            {"required": ["population", "distributions"]},
            {"required": ["size", "distributions"]},
        ],
    }


def _field(kind: str) -> dict[str, Any]:
    """Return the schema of fields of one kind."""
    body = _body(kind)
    properties: dict[str, Any] = {}
    if kind in BRANCHED:
        properties["given"] = {**_NAMES, "description": "The fields that say which branch it is."}
        # behind `given` stand branches, whose depth a schema cannot tell
        body = {"anyOf": [body, {"type": "object"}]} if kind != "constant" else {}
    if kind in BOUNDED:
        properties |= {key: _bound(key) for key in BOUNDS}
    properties[kind] = {**body, "description": _WORDS[kind]}
    if kind in BRANCHED and kind != "constant":
        return {**_object(properties, kind), **_ungiven(kind)}
    return _object(properties, kind)


def _ungiven(kind: str) -> dict[str, Any]:
    """Return what holds where there are no branches."""
    return {
        "if": {"not": {"required": ["given"]}},
        "then": {"properties": {kind: _body(kind)}},
    }


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _bound(key: str) -> dict[str, Any]:
    return {"integer": {"type": "boolean"}, "round": {"type": "integer"}}.get(key, _NUMBER)


def _body(kind: str) -> dict[str, Any]:
    """Return the schema of what stands behind a kind, without conditions."""
    if kind in FAMILIES:
        words = {word for form in FAMILIES[kind].forms for word in form}
        return _object({word: _bound(word) for word in sorted({*words, *BOUNDS})})
    whole = {"type": "integer"}
    columns = {"type": "object", "additionalProperties": {"type": "string"}}
    file = {"file": {"type": "string"}, "weight": {"type": "string"}, "columns": columns}
    bodies: dict[str, dict[str, Any]] = {
        "proportions": {"type": "object", "minProperties": 1, "additionalProperties": _SHARE},
        "joint": {"type": "object", "minProperties": 1},
        "microdata": _object(
            {**file, "marginals": {"type": "object"}, "tolerance": _NUMBER}, "file"
        ),
        "constant": _SCALAR,
        "sequence": {"anyOf": [whole, _object({"start": whole, "step": whole})]},
        "expression": {"type": ["string", "number"]},
        "template": {"type": "string"},
        "name": {
            "anyOf": [
                {"type": "string"},
                _object(
                    {
                        "locale": {"type": "string"},
                        "part": {"enum": ["full", "first", "last"]},
                        "sex": {"type": "string"},
                    }
                ),
            ]
        },
    }  # fmt: skip
    assert READERS.keys() >= JOINT
    return bodies["proportions" if kind == "weights" else kind]


def written() -> str:
    """Return the schema as it stands in its file."""
    return json.dumps(make_schema(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(written(), encoding="utf-8")
    print(PATH)
