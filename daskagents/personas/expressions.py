"""Expressions over fields: arithmetic, comparisons and a few functions; nothing else is run.

An expression is parsed by Python, and its tree is walked by the functions here, which know a few
kinds of nodes and refuse the others. Python never runs it.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import SpecError
from daskagents.personas.labels import STRINGS, Column, Labels, as_texts, make_labels
from daskagents.personas.nodes import hint
from daskagents.personas.values import Kind, Type

#: The longest expression, its deepest nesting, and the largest constant exponent.
LONGEST, DEEPEST, HIGHEST = 4_000, 60, 64

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "clip": np.clip,
    "exp": np.exp,
    "floor": np.floor,
    "log": np.log,
    "max": lambda *given: reduce(np.maximum, given),
    "min": lambda *given: reduce(np.minimum, given),
    "round": lambda value, digits=0.0: np.round(value, int(digits)),
    "sqrt": np.sqrt,
    "where": None,  # type: ignore[dict-item]  # as `a if b else c`
}
_ARGUMENTS = {"max": (2, 20), "min": (2, 20), "round": (1, 2), "clip": (3, 3), "where": (3, 3)}


@dataclass(frozen=True)
class Expression:
    """An expression that was parsed and found harmless; see `parse_expression`.

    Parameters
    ----------
    text
        As it was written.
    names
        The fields it reads.
    """

    text: str
    names: tuple[str, ...]

    @property
    def _tree(self) -> ast.expr:
        return _parse(self.text)

    def kind(self, kinds: Mapping[str, Kind]) -> Kind:
        """Return what it makes of columns of these kinds.

        Raises
        ------
        SpecError
            If it does something with texts or truths that cannot be done.

        Examples
        --------
        >>> double = parse_expression("2 * age")
        >>> double.kind({"age": Kind("int")}).type, double.kind({"age": Kind("float")}).type
        ('int', 'float')
        """
        return _kind(self._tree, kinds)

    def evaluate(self, columns: Mapping[str, Column], n: int) -> Column:
        """Return what it makes of columns of `n` people: float64, bool or texts.

        Where it is no finite number it is NaN or infinite, without a warning.

        Examples
        --------
        >>> parse_expression("1 if age >= 18 else 0").evaluate({"age": np.array([17, 18])}, 2)
        array([0., 1.])
        """
        with np.errstate(all="ignore"):
            found = _evaluate(self._tree, columns)
        if isinstance(found, Labels):
            return found
        if isinstance(found, str):
            return make_labels(np.zeros(n, np.uint8), (found,))
        return np.array(np.broadcast_to(np.asarray(found), (n,)))


def parse_expression(text: str) -> Expression:
    """Return a text as an expression.

    Raises
    ------
    SpecError
        If it is broken, or has anything but names, numbers, quoted texts, ``+ - * / // % **``,
        comparisons, ``and or not in``, ``a if b else c`` and the functions abs, ceil, clip, exp,
        floor, log, max, min, round, sqrt, where.

    Examples
    --------
    >>> parse_expression("income * 0.7 if age > 30 else income").names
    ('age', 'income')
    >>> parse_expression("().__class__")
    Traceback (most recent call last):
        ...
    daskagents.errors.SpecError: '().__class__' is nothing that an expression may have
    """
    tree = _parse(text)
    _check(tree, 0)
    # the names of functions are no fields
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called}
    return Expression(text, tuple(sorted(names)))


def _parse(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise SpecError(f"has {len(text)} characters, and may have {LONGEST}; use several fields")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise SpecError(f"{text!r} is broken at character {error.offset}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise SpecError(f"{text[:60]!r} cannot be read: {error}") from None


def _check(node: ast.AST, depth: int) -> None:
    """Refuse whatever is not known."""
    if depth > DEEPEST:
        raise SpecError(f"is nested more than {DEEPEST} times; use several fields")
    match node:
        case ast.Constant(value=value):
            _check_constant(value)
        case ast.Name() | ast.operator() | ast.unaryop() | ast.cmpop() | ast.boolop():
            if isinstance(node, ast.operator) and type(node) not in _ARITHMETIC:
                raise SpecError(f"has the operator {type(node).__name__}, which is unknown here")
            if isinstance(node, ast.Invert | ast.Is | ast.IsNot):
                raise SpecError("has `~`, `is` or `is not`; write `not`, `==` or `!=`")
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            few, most = _ARGUMENTS.get(name, (1, 1))
            if not few <= len(args) <= most:
                raise SpecError(f"{name} takes {few} to {most} values, not {len(args)}")
            if name == "round" and len(args) == 2:
                _small(args[1])
        case ast.Call(func=ast.Name(id=name)):
            raise SpecError(f"{name}(...) is no function of expressions{hint(name, _FUNCTIONS)}")
        case ast.BinOp(op=ast.Pow(), right=right):
            power = right.operand if isinstance(right, ast.UnaryOp) else right
            value = power.value if isinstance(power, ast.Constant) else None
            if not isinstance(value, int | float) or value > HIGHEST:
                said = ast.unparse(right)[:40]
                raise SpecError(f"has the power {said}; write a number of at most {HIGHEST}")
        case ast.BinOp() | ast.UnaryOp() | ast.BoolOp() | ast.Compare() | ast.IfExp():
            pass
        case ast.Tuple() | ast.List() | ast.Set() if depth:  # to the right of `in`; see _kind
            pass
        case ast.expr_context():
            return
        case _:
            said = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
            raise SpecError(f"{said[:60]!r} is nothing that an expression may have")
    func = node.func if isinstance(node, ast.Call) else None
    for child in ast.iter_child_nodes(node):
        if child is not func:
            _check(child, depth + 1)


def _check_constant(value: object) -> None:
    if not isinstance(value, bool | int | float | str):
        raise SpecError(f"{value!r} is no number, text or truth")
    if isinstance(value, int | float) and not abs(value) < 2**53:
        raise SpecError(f"has the number {str(value)[:40]}, which is too large")


def _small(node: ast.expr) -> None:
    try:
        digits = ast.literal_eval(node)
    except (ValueError, TypeError):
        digits = None
    if not isinstance(digits, int) or not -15 <= digits <= 15:
        raise SpecError("round takes a number of digits between -15 and 15")


def _kind(node: ast.expr, kinds: Mapping[str, Kind]) -> Kind:
    """Return the kind of a part, and refuse what cannot be done with it."""

    def numbers(*parts: ast.expr) -> list[Kind]:
        found = [_kind(part, kinds) for part in parts]
        for part, kind in zip(parts, found, strict=True):
            if not kind.is_number:
                raise SpecError(f"{ast.unparse(part)} is {kind.said}, and numbers are needed there")
        return found

    def truths(*parts: ast.expr) -> Kind:
        for part in parts:
            if _kind(part, kinds).type != "bool":
                raise SpecError(f"{ast.unparse(part)} is not true or false; compare it")
        return Kind("bool")

    match node:
        case ast.Constant(value=str() as value):
            return Kind("text", (value,))
        case ast.Constant(value=bool()):
            return Kind("bool")
        case ast.Constant(value=value):
            return Kind("int" if isinstance(value, int) else "float")
        case ast.Name(id=name):
            return kinds[name]
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return truths(part)
        case ast.UnaryOp(operand=part):
            return Kind(_common(numbers(part)))
        case ast.BoolOp(values=parts):
            return truths(*parts)
        case ast.BinOp(left=left, op=op, right=right):
            whole = not isinstance(op, ast.Div | ast.Pow)
            found = _common(numbers(left, right))
            return Kind(found if whole else "float")
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _branches(truths(test), _kind(body, kinds), _kind(orelse, kinds), node)
        case ast.Call(func=ast.Name(id="where"), args=[test, body, orelse]):
            return _branches(truths(test), _kind(body, kinds), _kind(orelse, kinds), node)
        case ast.Call(func=ast.Name(id=name), args=parts):
            common = _common(numbers(*parts))
            if name in ("floor", "ceil") or (name == "round" and len(parts) == 1):
                return Kind("int")
            return Kind(common if name in ("abs", "min", "max", "clip", "round") else "float")
        case ast.Compare(left=left, ops=ops, comparators=rights):
            for relation, right in zip(ops, rights, strict=True):
                _comparable(relation, left, right, kinds)
                left = right
            return Kind("bool")
    raise SpecError(f"{ast.unparse(node)} can only stand behind `in`")


def _common(kinds: list[Kind]) -> Type:
    return "int" if all(kind.type == "int" for kind in kinds) else "float"


def _branches(test: Kind, yes: Kind, no: Kind, node: ast.expr) -> Kind:
    """Return the kind of what is one or the other."""
    if yes.is_number and no.is_number:
        return Kind(_common([yes, no]))
    if yes.type != no.type:
        raise SpecError(f"{ast.unparse(node)} is {yes.said} or {no.said}; let both be alike")
    if yes.type == "text" and yes.values is not None and no.values is not None:
        return Kind("text", tuple(dict.fromkeys([*yes.values, *no.values])))
    return Kind(yes.type)


def _comparable(op: ast.cmpop, left: ast.expr, right: ast.expr, kinds: Mapping[str, Kind]) -> None:
    """Refuse comparisons of unlike kinds, and the order of texts."""
    inside = isinstance(op, ast.In | ast.NotIn)
    if inside and not isinstance(right, ast.Tuple | ast.List | ast.Set):
        raise SpecError(f"{ast.unparse(right)} is no list; write `in ('a', 'b')`")
    others = right.elts if isinstance(right, ast.Tuple | ast.List | ast.Set) else [right]
    first = _kind(left, kinds)
    for part in others:
        other = _kind(part, kinds)
        if first.type != other.type and not (first.is_number and other.is_number):
            said = f"{ast.unparse(left)} is {first.said}, {ast.unparse(part)} {other.said}"
            raise SpecError(f"{said}; these cannot be compared")
        if first.type == "text" and isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            raise SpecError(f"{ast.unparse(left)} is text, which has no order here; use == or in")
        if first.type == "text" and first.values is not None and isinstance(part, ast.Constant):
            said = str(part.value)
            if said not in first.values:
                raise SpecError(f"{ast.unparse(left)} is never {said!r}{hint(said, first.values)}")


def _evaluate(node: ast.expr, columns: Mapping[str, Column]) -> Any:
    """Return the value of a part: float64, bool, labels, texts, or one of these for all."""
    match node:
        case ast.Constant(value=bool() | str() as value):
            return value
        case ast.Constant(value=int() | float() as number):
            return np.float64(number)
        case ast.Name(id=name):
            return _numbers(columns[name])
        case ast.UnaryOp(op=op, operand=part):
            value = _evaluate(part, columns)
            if isinstance(op, ast.Not):
                return np.logical_not(value)
            return value if isinstance(op, ast.UAdd) else np.negative(value)
        case ast.BoolOp(op=op, values=parts):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return reduce(join, [_evaluate(part, columns) for part in parts])
        case ast.BinOp(left=left, op=op, right=right):
            return _ARITHMETIC[type(op)](_evaluate(left, columns), _evaluate(right, columns))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _choose(*(_evaluate(part, columns) for part in (test, body, orelse)))
        case ast.Call(func=ast.Name(id=name), args=parts):
            given = [_evaluate(part, columns) for part in parts]
            return _choose(*given) if name == "where" else _FUNCTIONS[name](*given)
        case ast.Compare(left=left, ops=ops, comparators=rights):
            return _compare(left, ops, rights, columns)
    raise AssertionError(ast.dump(node))  # _check lets no other through


def _numbers(column: Column) -> Any:
    """Return a column as expressions take it: whole numbers as floats."""
    if isinstance(column, Labels) or column.dtype.kind not in "iu":
        return column
    return column.astype(np.float64)


def _compare(
    left: ast.expr, ops: list[ast.cmpop], rights: list[ast.expr], columns: Mapping[str, Column]
) -> Any:
    """Return whether each of some comparisons in a row is so."""
    found: Any = np.True_
    value = _evaluate(left, columns)
    for op, right in zip(ops, rights, strict=True):
        if isinstance(op, ast.In | ast.NotIn):
            others = [_evaluate(part, columns) for part in right.elts]  # type: ignore[attr-defined]
            some = reduce(np.logical_or, [_same(value, other) for other in others], np.False_)
            found = np.logical_and(found, some if isinstance(op, ast.In) else np.logical_not(some))
            continue
        other = _evaluate(right, columns)
        if isinstance(op, ast.Eq | ast.NotEq):
            same = _same(value, other)
            this = same if isinstance(op, ast.Eq) else np.logical_not(same)
        else:
            this = _COMPARISONS[type(op)](value, other)
        found, value = np.logical_and(found, this), other
    return found


def _same(one: Any, other: Any) -> Any:
    """Return where two values are the same; words are compared, not the texts of all people."""
    if isinstance(one, str) and isinstance(other, Labels):
        one, other = other, one
    if isinstance(one, Labels) and isinstance(other, str):
        return np.array([word == other for word in one.words], bool)[one.codes]
    if isinstance(one, Labels):
        one = one.texts()
    if isinstance(other, Labels):
        other = other.texts()
    return np.asarray(one == other)


def _choose(test: Any, yes: Any, no: Any) -> Any:
    """Return one value where a test is true, another elsewhere."""
    if not any(_is_text(value) for value in (yes, no)):
        return np.where(test, yes, no)
    shape = np.broadcast_shapes(*(np.shape(_bare(value)) for value in (test, yes, no)))
    if not shape:
        return yes if test else no
    if all(isinstance(value, str | Labels) for value in (yes, no)):
        one, other = _labels(yes, shape), _labels(no, shape)
        words = tuple(dict.fromkeys([*one.words, *other.words]))
        number = {word: code for code, word in enumerate(words)}
        codes = [np.array([number[w] for w in part.words])[part.codes] for part in (one, other)]
        return make_labels(np.where(test, *codes), words)
    texts: list[NDArray[Any]] = [
        np.full(shape, value, STRINGS) if isinstance(value, str) else as_texts(value)
        for value in (yes, no)
    ]
    return np.where(test, *texts)


def _is_text(value: Any) -> bool:
    return isinstance(value, str | Labels) or getattr(value, "dtype", None) == STRINGS


def _bare(value: Any) -> Any:
    """Return what has the shape of a value."""
    return value.codes if isinstance(value, Labels) else 0 if isinstance(value, str) else value


def _labels(value: str | Labels, shape: tuple[int, ...]) -> Labels:
    return make_labels(np.zeros(shape, np.uint8), (value,)) if isinstance(value, str) else value


def relabel(column: Labels, words: tuple[str, ...]) -> Labels:
    """Return labels with these words, among which are all of theirs.

    Examples
    --------
    >>> relabel(make_labels([0, 1], ["b", "a"]), ("a", "b", "c")).codes
    array([1, 0], dtype=uint8)
    """
    if column.words == words:
        return column
    number = {word: code for code, word in enumerate(words)}
    codes = np.array([number[word] for word in column.words], np.int64)
    return make_labels(codes[column.codes], words)


def is_finite(column: NDArray[Any]) -> bool:
    """Return whether all numbers are finite."""
    return column.dtype.kind != "f" or math.isfinite(float(np.sum(np.abs(column)) * 0.0 + 1.0))
