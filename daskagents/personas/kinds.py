"""How each kind of field is read: proportions, distributions, constants, expressions and others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from daskagents.errors import SpecError
from daskagents.personas.expressions import parse_expression
from daskagents.personas.fitting import fit
from daskagents.personas.labels import Column
from daskagents.personas.marginals import read_marginals
from daskagents.personas.names import Names, check_locale, sex_of
from daskagents.personas.nodes import Node, Problems, hint
from daskagents.personas.numbers import FAMILIES, Numbers, Shape
from daskagents.personas.spec import Computed, Constant, Counter, Shares, Source
from daskagents.personas.tables import Table, read_table
from daskagents.personas.templates import parse_template
from daskagents.personas.values import (
    Kind,
    expect_keys,
    kind_of_values,
    lookup,
    number,
    share,
    type_of,
)

#: How far proportions may be from adding up to 1: what sums of floats are rounded by. More, and a
#: count of a billion people would not be the size times the share that stands in the file.
NEAR = 1e-9
#: Keys that several kinds of fields have beside their own.
BOUNDS = ("min", "max", "round", "integer")

Read: TypeAlias = "tuple[Source, tuple[Kind, ...]] | None"


@dataclass
class Context:
    """What a field is read with.

    Parameters
    ----------
    names
        Its name, or names.
    kinds
        The earlier fields.
    problems
        Where what is wrong is noted.
    folder
        What files are looked for in.
    bounds
        Keys that stand beside the kind, such as ``min`` and ``round``.
    """

    names: tuple[str, ...]
    kinds: dict[str, Kind]
    problems: Problems
    folder: Path | None = None
    bounds: dict[str, Node] = field(default_factory=dict)


def _branch_shares(leaf: Node, context: Context, adds_up: bool) -> dict[Any, float] | None:
    """Read the shares of one branch: values, and numbers that add up to 1."""
    if not leaf.is_mapping or not leaf.value:
        context.problems.add(leaf, f"is {leaf.said}, not a mapping of values to shares")
        return None
    found = {key: share(node, context.problems) for key, node in leaf.items()}
    return None if None in found.values() else _normal(found, leaf, context, adds_up)  # type: ignore[arg-type]


def _normal(
    found: dict[Any, float], leaf: Node, context: Context, adds_up: bool
) -> dict[Any, float] | None:
    """Return shares that add up to 1."""
    total = math.fsum(found.values())
    if adds_up and abs(total - 1) > NEAR:
        cure = "make them add up to 1 (a third is 1/3), or write whole counts"
        if len(context.names) == 1:
            cure = "make them add up to 1 (a third is 1/3), or write `weights`"
        context.problems.add(leaf, f"the proportions add up to {total:.10g}, not 1; {cure}")
        return None
    if not total > 0:
        context.problems.add(leaf, "the weights add up to 0; give some more than 0")
        return None
    return {key: value / total for key, value in found.items()}


def read_shares(adds_up: bool) -> Callable[[Sequence[Node], Context], Read]:
    """Return what reads ``proportions``, or ``weights``, which need not add up to 1."""

    def read(leaves: Sequence[Node], context: Context) -> Read:
        branches = [_branch_shares(leaf, context, adds_up) for leaf in leaves]
        values = list(dict.fromkeys(key for some in branches if some for key in some))
        kind = _one_type(values, leaves[0], context) if values else None
        if kind is None or not all(branches):
            return None
        table = [[some.get(value, 0.0) for value in values] for some in branches if some]
        return Shares((lookup(values, kind),), np.array(table)), (kind,)

    return read


def _one_type(values: list[Any], node: Node, context: Context) -> Kind | None:
    """Return the kind of values, all of one type."""
    if type_of(values) is None:
        said = ", ".join(repr(value) for value in values[:6])
        context.problems.add(node, f"the values are of several types ({said}); quote the texts")
        return None
    large = [v for v in values if not isinstance(v, str) and not abs(v) < 2**62]
    if large:
        context.problems.add(node, f"the value {large[0]} is too large")
        return None
    return kind_of_values(values)


def read_joint(leaves: Sequence[Node], context: Context) -> Read:
    """Read ``joint``: a table of several fields, inline or in a file."""
    if len(leaves) == 1 and leaves[0].is_mapping:
        file = leaves[0].get("file")
        if file is not None and isinstance(file.value, str):
            return _joint_file(leaves[0], context)
    rows: dict[tuple[Any, ...], list[float]] = {}
    before = len(context.problems.found)
    for cell, leaf in enumerate(leaves):
        found = dict(_joint_rows(leaf, len(context.names), (), context))
        if not found or len(context.problems.found) > before:
            continue
        whole = all(value == int(value) for value in found.values())
        adds_up = not (whole and math.fsum(found.values()) > 1)  # people, counted
        for key, value in (_normal(found, leaf, context, adds_up) or {}).items():
            rows.setdefault(key, [0.0] * len(leaves))[cell] = value
    if len(context.problems.found) > before or not rows:
        return None
    columns = [list(column) for column in zip(*rows, strict=True)]
    kinds = [_one_type(column, leaves[0], context) for column in columns]
    known = tuple(kind for kind in kinds if kind is not None)
    if len(known) < len(kinds):
        return None
    looked = tuple(_joint_column(c, k) for c, k in zip(columns, known, strict=True))
    return Shares(looked, np.array(list(rows.values())).T.copy()), known


def _joint_column(values: list[Any], kind: Kind) -> Column:
    """Return the values of all rows of a joint table; each text is kept once."""
    few = {value: code for code, value in enumerate(dict.fromkeys(values))}
    return lookup([*few], kind)[np.array([few[value] for value in values])]


def _joint_rows(
    node: Node, levels: int, key: tuple[Any, ...], context: Context
) -> list[tuple[tuple[Any, ...], float]]:
    """Return the rows of nested mappings, a level for each field."""
    if not levels:
        found = share(node, context.problems)
        return [] if found is None else [(key, found)]
    if not node.is_mapping or not node.value:
        said = f"is {node.said}, not a mapping of the values of {context.names[-levels]}"
        context.problems.add(node, said)
        return []
    inner = [_joint_rows(child, levels - 1, (*key, k), context) for k, child in node.items()]
    return [row for rows in inner for row in rows]


def _joint_file(node: Node, context: Context) -> Read:
    """Read a joint table from a file: a row for each cell."""
    expect_keys(node, ("file", "weight", "columns"), context.problems)
    if node.get("weight") is None:
        context.problems.add(node, "name the column of shares, such as `weight: people`")
        return None
    table = read_table(node, context.names, context.folder, context.problems)
    if table is None:
        return None
    return Shares(table.columns, (table.weights / table.weights.sum())[None, :]), table.kinds


def read_microdata(leaves: Sequence[Node], context: Context) -> Read:
    """Read ``microdata``: rows of a survey that are drawn by weights, raked or as they are."""
    node, problems = leaves[0], context.problems
    known = ("file", "weight", "columns", "marginals", "tolerance")
    if not expect_keys(node, known, problems):
        return None
    table = read_table(node, context.names, context.folder, problems)
    if table is None:
        return None
    marginals = node.get("marginals")
    if marginals is None:
        return Shares(table.columns, table.weights[None, :], drawn=True), table.kinds
    return _raked(table, marginals, node.get("tolerance"), context)


def _raked(table: Table, node: Node, wanted: Node | None, context: Context) -> Read:
    """Fit the weights of microdata to marginals; those that contradict each other are noted."""
    before = len(context.problems.found)
    columns = dict(zip(context.names, table.columns, strict=True))
    kinds = dict(zip(context.names, table.kinds, strict=True))
    found = read_marginals(node, columns, kinds, len(table.weights), context.problems)
    tolerance = 1e-6 if wanted is None else number(wanted, context.problems)
    if len(context.problems.found) > before or not found or tolerance is None:
        return None
    raked = fit(found, table.weights, tolerance=max(tolerance, 1e-15))
    for said in raked.contradictions:
        context.problems.add(node, f"marginals contradict each other: {said}")
    if not raked.contradictions and not raked.converged:
        worst = max(raked.errors, key=lambda name: raked.errors[name])
        context.problems.add(
            node,
            f"marginals contradict each other: after {raked.iterations} iterations {worst} is"
            f" still off by {raked.errors[worst]:.2g} of all people; these rows cannot have them"
            " all together. Check it, or set `tolerance`",
        )
    return Shares(table.columns, raked.weights[None, :], drawn=True, raked=raked), table.kinds


def read_family(name: str) -> Callable[[Sequence[Node], Context], Read]:
    """Return what reads the distributions of one family."""

    def read(leaves: Sequence[Node], context: Context) -> Read:
        read_all = [_shape(name, leaf, context) for leaf in leaves]
        shapes = [found for found in read_all if found is not None]
        if len(shapes) < len(leaves):
            return None
        if len({whole for _, whole in shapes}) > 1:
            context.problems.add(leaves[0], "some branches are whole numbers and some are not")
            return None
        made = Numbers(tuple(shape for shape, _ in shapes), shapes[0][1])
        return made, (made.kind,)

    return read


def _shape(name: str, leaf: Node, context: Context) -> tuple[Shape, bool] | None:
    """Read one distribution, and whether it is of whole numbers."""
    family, problems = FAMILIES[name], context.problems
    words = dict.fromkeys(word for form in family.forms for word in form)
    if not expect_keys(leaf, [*dict.fromkeys([*words, *BOUNDS])], problems):
        return None
    given = {**context.bounds, **{str(key): node for key, node in leaf.items()}}
    form = next((f for f in family.forms if {*f} == {*words} & {*given}), None)
    if form is None:
        said = " or ".join(" and ".join(form) for form in family.forms)
        here = ", ".join(key for key in given if key in words) or "nothing"
        problems.add(leaf, f"{name} takes {said}, not {here}")
        return None
    unit, whole = read_unit(given, problems, whole=name == "poisson")
    low, high = read_ends(given, problems)
    numbers = [number(given[word], problems) for word in form]
    if unit is None or low is None or high is None or None in numbers:
        return None
    with problems.caught(leaf):
        a, b = family.forms[form](*numbers)
        return Shape(name, a, b, low, high, unit), whole
    return None


def read_ends(given: dict[str, Node], problems: Problems) -> tuple[float | None, float | None]:
    """Read ``min`` and ``max``; None where one is wrong."""
    low = number(given["min"], problems) if "min" in given else -math.inf
    high = number(given["max"], problems) if "max" in given else math.inf
    return low, high


def read_unit(
    given: dict[str, Node], problems: Problems, whole: bool = False
) -> tuple[float | None, bool]:
    """Read ``round`` and ``integer``: what values are multiples of, and whether they are ints.

    Examples
    --------
    >>> read_unit({"round": Node(-2)}, Problems()), read_unit({"integer": Node(True)}, Problems())
    ((100.0, False), (1.0, True))
    """
    integer, digits = given.get("integer"), given.get("round")
    if integer is not None and not isinstance(integer.value, bool):
        problems.add(integer, f"is {integer.said}, not true or false")
        return None, whole
    whole = whole or bool(integer and integer.value)
    if digits is None:
        return (1.0 if whole else 0.0), whole
    found = number(digits, problems, whole=True)
    if found is not None and not -15 <= found <= 15:
        problems.add(digits, f"is {found}; give digits behind the point, or -2 for hundreds")
        found = None
    if found is None:
        return None, whole
    unit = 10.0**-found
    return (max(unit, 1.0) if whole else unit), whole


def read_constant(leaves: Sequence[Node], context: Context) -> Read:
    """Read ``constant``: a number, a text or a truth."""
    for leaf in leaves:
        if not leaf.is_scalar or leaf.value is None:
            context.problems.add(leaf, f"is {leaf.said}, not one value")
            return None
    values = [leaf.value for leaf in leaves]
    kind = _one_type(values, leaves[0], context)
    if kind is None:
        return None
    return Constant(_joint_column(values, kind)), (kind,)


def read_sequence(leaves: Sequence[Node], context: Context) -> Read:
    """Read ``sequence``: a start, or a start and a step."""
    node = leaves[0]
    if node.is_scalar:
        start, step = number(node, context.problems, whole=True), 1.0
    else:
        expect_keys(node, ("start", "step"), context.problems)
        parts = [node.get("start") or Node(0), node.get("step") or Node(1)]
        start, step = (number(part, context.problems, whole=True) for part in parts)  # type: ignore[assignment]
    if start is None or step is None:
        return None
    if step == 0:
        context.problems.add(node, "step is 0; use `constant`")
        return None
    return Counter(int(start), int(step)), (Kind("int"),)


def read_expression(leaves: Sequence[Node], context: Context) -> Read:
    """Read ``expression``."""
    node, problems = leaves[0], context.problems
    if isinstance(node.value, bool) or not isinstance(node.value, str | int | float):
        problems.add(node, f"is {node.said}, not an expression such as 'income * 0.7'")
        return None
    with problems.caught(node):
        expression = parse_expression(str(node.value))
        if unknown(expression.names, node, context):
            return None
        kind = expression.kind(context.kinds)
        if not kind.is_number:
            if context.bounds:
                raise SpecError(f"gives {kind.said}, which have no {' or '.join(context.bounds)}")
            return Computed(expression), (kind,)
        unit, whole = read_unit(context.bounds, problems, whole=kind.type == "int")
        low, high = read_ends(context.bounds, problems)
        if unit is None or low is None or high is None:
            return None
        if low > high:
            raise SpecError(f"min is {low:g} and max is {high:g}; nothing lies between them")
        unit = 0.0 if kind.type == "int" and unit == 1 else unit
        found = Kind("int" if whole else "float", None, low, high)
        return Computed(expression, unit, low, high), (found,)
    return None


def read_template(leaves: Sequence[Node], context: Context) -> Read:
    """Read ``template``."""
    node = leaves[0]
    if not isinstance(node.value, str):
        context.problems.add(node, f"is {node.said}, not a text with {{names}} of fields")
        return None
    with context.problems.caught(node):
        template = parse_template(node.value)
        if unknown(template.names, node, context):
            return None
        template.check(context.kinds)
        return template, (Kind("text"),)
    return None


def read_names(leaves: Sequence[Node], context: Context) -> Read:
    """Read ``name``: a locale, or a locale, a part and the field that says the sex."""
    locales: list[str] = []
    part: Any = "full"
    sex: str | None = None
    before = len(context.problems.found)
    for leaf in leaves:
        locale = leaf
        if not leaf.is_scalar:
            expect_keys(leaf, ("locale", "part", "sex"), context.problems)
            locale = leaf.get("locale") or Node("en_US")
            part = getattr(leaf.get("part"), "value", part)
            sex = _sex(leaf.get("sex"), context) or sex
        with context.problems.caught(locale):
            locales.append(check_locale(locale.value))
    if part not in ("full", "first", "last"):
        context.problems.add(leaves[0], f"part is {part!r}; it is full, first or last")
    if len(context.problems.found) > before or len(locales) < len(leaves):
        return None
    return Names(tuple(locales), part, sex), (Kind("text"),)


def _sex(node: Node | None, context: Context) -> str | None:
    """Return the field that says whose names they are."""
    if node is None or unknown([node.value], node, context):
        return None
    values = context.kinds[node.value].values or ()
    if not any(sex_of(str(value)) for value in values):
        context.problems.add(
            node, f"no value of {node.value!r} is known as female or male; call them so"
        )
        return None
    return str(node.value)


def unknown(names: Sequence[Any], node: Node, context: Context) -> bool:
    """Note names that are no earlier fields; return whether there are any."""
    wrong = [name for name in names if name not in context.kinds]
    for name in wrong:
        context.problems.add(node, f"{name!r} is no earlier field{hint(name, context.kinds)}")
    return bool(wrong)
