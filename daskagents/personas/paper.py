"""The form of *Very Large-Scale Multi-Agent Simulation in AgentScope*: a list of distributions.

::

    population: 1000
    distributions:
      - name: education
        categories:
          - {category: high school, proportion: 0.6}
          - {category: PhD, proportion: 0.4}

It is turned into our own form. A distribution may also be a mapping of categories to proportions,
or have its categories and proportions as two lists; all distributions may be one mapping by name.
"""

from __future__ import annotations

import re

from daskagents.personas.nodes import Node, Problems

_NAMES = ("name", "attribute", "field")
_VALUES = ("category", "name", "value")
_SHARES = ("proportion", "share", "probability")


def is_paper(top: Node) -> bool:
    """Whether a file has that form."""
    return top.get("distributions") is not None and top.get("fields") is None


def from_paper(top: Node, problems: Problems) -> Node:
    """Return such a file in our own form.

    Examples
    --------
    >>> from daskagents.personas.reading import node_of
    >>> file = {"population": 5, "distributions": {"Job Title": {"cook": 0.4, "smith": 0.6}}}
    >>> from_paper(node_of(file), Problems()).plain()
    {'size': 5, 'fields': {'Job_Title': {'proportions': {'cook': 0.4, 'smith': 0.6}}}}
    """
    pairs = []
    for key, node in top.value:
        if key.value in ("population", "population_size"):
            pairs.append((Node("size", key.path, key.place), node))
        elif key.value == "distributions":
            fields = [_field(name, body, problems) for name, body in _named(node, problems)]
            found = [pair for pair in fields if pair is not None]
            pairs.append((Node("fields", key.path, key.place), _mapping(found, node)))
        else:
            pairs.append((key, node))
    return _mapping(pairs, top)


def _mapping(pairs: list[tuple[Node, Node]], at: Node) -> Node:
    return Node(pairs, at.path, at.place, is_mapping=True)


def _first(node: Node, names: tuple[str, ...]) -> Node | None:
    """Return the value of the first of some keys that is there."""
    return next((found for name in names if (found := node.get(name)) is not None), None)


def _named(node: Node, problems: Problems) -> list[tuple[Node, Node]]:
    """Return the distributions with their names."""
    if node.is_mapping:
        return list(node.value)
    found = []
    for row in node.value if node.is_list else [node]:
        name = _first(row, _NAMES)
        if name is None:
            problems.add(row, "has no `name`")
        else:
            found.append((name, row))
    return found


def _field(name: Node, body: Node, problems: Problems) -> tuple[Node, Node] | None:
    """Return one distribution as a field of proportions."""
    called = re.sub(r"\W+", "_", str(name.value).strip())
    rows = _rows(body, problems)
    if rows is None:
        problems.add(body, "has no `categories` with proportions")
        return None
    seen: set[object] = set()
    for value, _ in rows:
        if value.value in seen:
            problems.add(value, f"the category {value.value!r} is there twice; keep one of them")
        seen.add(value.value)
    shares = _mapping(rows, body)
    field = _mapping([(Node("proportions", body.path, body.place), shares)], body)
    return Node(called, name.path, name.place), field


def _rows(body: Node, problems: Problems) -> list[tuple[Node, Node]] | None:
    """Return categories and proportions, however they are written."""
    categories = body.get("categories")
    if categories is None:
        plain = body.is_mapping and all(node.is_scalar for _, node in body.items())
        return list(body.value) if plain and body.value else None
    if categories.is_mapping:
        return list(categories.value)
    shares = body.get("proportions")
    if shares is not None and shares.is_list and categories.is_list:
        if len(shares.value) != len(categories.value):
            said = (
                f"there are {len(categories.value)} categories and {len(shares.value)} proportions"
            )
            problems.add(body, said)
            return []
        return list(zip(categories.value, shares.value, strict=True))
    found = []
    for row in categories.value if categories.is_list else []:
        value, part = _first(row, _VALUES), _first(row, _SHARES)
        if value is None or part is None:
            problems.add(row, "is no {category: ..., proportion: ...}")
        else:
            found.append((value, part))
    return found or None
