"""Files of populations, YAML and JSON, and mappings of Python as nodes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from daskagents.errors import SpecError
from daskagents.personas.nodes import Node, Problems

#: Levels of mappings and lists in each other; no sensible file has so many.
DEEPEST = 40
#: Digits of whole numbers that fit in 64 bits.
_DIGITS = 18


class _Loader(yaml.SafeLoader):
    """YAML whose scalars are those of JSON: ``no`` is a text, 012 is twelve, 1e5 a number."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9][0-9_]*", [*"-+0123456789"]),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
)
for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$"), _first
    )


def read_file(path: Path, problems: Problems) -> Node:
    """Read a YAML or JSON file as a node; keys that are there twice are noted as problems.

    Raises
    ------
    SpecError
        If it cannot be read; with the line and column where it is broken.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is no UTF-8 text: {error.reason} at byte {error.start}") from None
    return read_text(text, problems, path.suffix.lower() == ".json")


def read_text(text: str, problems: Problems, is_json: bool = False) -> Node:
    """Read a text as a node; see `read_file`.

    Examples
    --------
    >>> read_text("{size: 5, seed: no}", Problems()).plain()
    {'size': 5, 'seed': 'no'}
    """
    where = problems.source or "the population"
    if is_json:
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            at = f"line {error.lineno}, column {error.colno}"
            raise SpecError(f"{where} is broken JSON ({at}): {error.msg}") from None
        except RecursionError:
            raise SpecError(f"{where} has too many levels") from None
        text = text.replace("\t", " ")  # which JSON may have between its words, and YAML may not
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        said = f"the character {chr(int(error.character))!r} is not allowed"
        raise SpecError(f"{where} is broken YAML (line {line}, column {column}): {said}") from None
    try:
        found = loader.get_single_node()
        if found is None:
            raise SpecError(f"{where} is empty; give at least `size` and `fields`")
        return _Reader(loader, problems, is_json).read(found, "", 0)
    except yaml.YAMLError as error:
        raise SpecError(f"{where} is broken YAML{_where(error)}") from None
    except RecursionError:
        raise SpecError(f"{where} has too many levels") from None
    finally:
        loader.dispose()


def _where(error: yaml.YAMLError) -> str:
    """Return the place of an error of YAML, and what it is."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    return f"{place}: {f'{context}, ' if context else ''}{said}"


class _Reader:
    """Turns the nodes of a YAML file into ours."""

    def __init__(self, loader: yaml.SafeLoader, problems: Problems, is_json: bool) -> None:
        self.loader, self.problems, self.is_json = loader, problems, is_json

    def read(self, node: yaml.Node, path: str, depth: int) -> Node:
        """Return a node with all below it."""
        place = (node.start_mark.line + 1, node.start_mark.column + 1)
        if depth > DEEPEST:
            raise SpecError(
                f"{self.problems.source or 'the population'} (line {place[0]}, column {place[1]}):"
                f" more than {DEEPEST} levels, or a value that holds itself"
            )
        if isinstance(node, yaml.MappingNode):
            return Node(self._pairs(node, path, depth), path, place, is_mapping=True)
        if isinstance(node, yaml.SequenceNode):
            rows = [self.read(n, f"{path}[{i}]", depth + 1) for i, n in enumerate(node.value)]
            return Node(rows, path, place)
        return Node(self._scalar(node), path, place)

    def _pairs(self, node: yaml.MappingNode, path: str, depth: int) -> list[tuple[Node, Node]]:
        """Return the keys and values of a mapping; a key that comes again is a problem."""
        pairs: list[tuple[Node, Node]] = []
        seen: set[Any] = set()
        for key, value in node.value:
            place = (key.start_mark.line + 1, key.start_mark.column + 1)
            if not isinstance(key, yaml.ScalarNode):
                self.problems.add(Node(None, path, place), "a key is a mapping or list; quote it")
                continue
            name = self._scalar(key)
            inner = f"{path}.{name}" if path else str(name)
            if (type(name), name) in seen:
                self.problems.add(Node(None, inner, place), "is there twice; keep one of them")
                continue
            seen.add((type(name), name))
            pairs.append((Node(name, inner, place), self.read(value, inner, depth + 1)))
        return pairs

    def _scalar(self, node: yaml.Node) -> Any:
        """Return a single value: None, a bool, an int, a float or a text."""
        text = str(node.value)
        kind = node.tag.rpartition(":")[2]
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int" and len(text) <= _DIGITS:
            return int(text)
        if kind in ("float", "int"):  # what is too large is infinite, and refused where it stands
            return float(text)
        if kind != "str":
            said = f"the tag {node.tag!r} is unknown here; give a plain value"
            mark = node.start_mark
            self.problems.add(Node(None, "the file", (mark.line + 1, mark.column + 1)), said)
        # JSON writes characters beyond 16 bits as two
        return text.encode("utf-16", "surrogatepass").decode("utf-16") if self.is_json else text


def node_of(value: Any, path: str = "", depth: int = 0) -> Node:
    """Return a value of Python as a node, without places.

    Examples
    --------
    >>> node_of({"a": [1, "x"]}).get("a").value[1].path
    'a[1]'
    """
    if depth > DEEPEST:
        raise SpecError(f"{path[:80]}: more than {DEEPEST} levels, or a value that holds itself")
    if isinstance(value, Mapping):
        pairs = []
        for key, inner in value.items():
            name = f"{path}.{key}" if path else str(key)
            pairs.append((Node(_plain(key), name), node_of(inner, name, depth + 1)))
        return Node(pairs, path, is_mapping=True)
    if isinstance(value, list | tuple):
        return Node([node_of(v, f"{path}[{i}]", depth + 1) for i, v in enumerate(value)], path)
    return Node(_plain(value), path)


def _plain(value: Any) -> Any:
    """Return a scalar as one of Python; what is none as its text."""
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:  # of NumPy
        value = value.item()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**_DIGITS:
        return math.inf if value > 0 else -math.inf
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if not math.isnan(value) else "NaN"
    return str(value)
