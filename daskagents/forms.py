"""The form of a class's replies, and replies as columns."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from daskagents.columns import Column, Plain, compact_strings, repeat, strings
from daskagents.errors import ReplyError, UsageError

Kind = Literal["number", "text"]

#: What a run itself writes for every round.
TAKEN = frozenset(
    "failed n_failed n_agents n_undelivered calls prompt_tokens completion_tokens cached_tokens"
    " retries cost seconds seconds_waiting calls_by_model tokens_by_model cost_by_model round"
    " agent".split()
)
_NUMBERS = frozenset({float, int, bool})
#: Types that become a column all at once.
_PLAIN: dict[Kind, frozenset[type[Any]]] = {
    "number": _NUMBERS | {np.float64, np.float32, np.int64, np.bool_},
    "text": frozenset({str}),
}
#: What stands for the reply of an agent that failed.
_BLANK: dict[Kind, Any] = {"number": np.nan, "text": ""}


@dataclass(frozen=True)
class Form:
    """What every agent of a class replies with: one value, or several by name.

    Parameters
    ----------
    kinds
        ``"number"`` (float64 in the results, so that a failed agent is NaN) or ``"text"``, by
        name; the name of a single value is ``""``. Empty where the method replies nothing.

    """

    kinds: tuple[tuple[str, Kind], ...]

    @property
    def single(self) -> bool:
        """Whether a reply is one value."""
        return len(self.kinds) == 1 and self.kinds[0][0] == ""

    def __str__(self) -> str:
        if not self.kinds:
            return "nothing"
        if self.single:
            return f"a {self.kinds[0][1]}"
        return "{" + ", ".join(f"{name}: {kind}" for name, kind in self.kinds) + "}"


def form_of(reply: Any, where: str) -> Form:
    """Return the form of one reply, or raise a `ReplyError`."""
    if reply is None:
        return Form(())
    if isinstance(reply, Mapping):
        return Form(
            tuple((_name(name, where), _kind(v, f"{where}[{name!r}]")) for name, v in reply.items())
        )
    if dataclasses.is_dataclass(reply):
        return form_of(_as_dict(reply), where)
    return Form((("", _kind(reply, where)),))


def declared_form(function: Callable[..., Any]) -> Form | None:
    """Return the form that a method's return annotation declares; None where it has none."""
    while isinstance(function, functools.partial):
        function = function.func
    try:
        annotation = typing.get_type_hints(function).get("return", Ellipsis)
    except NameError:  # an annotation that only a type checker can read
        return None
    where = f"the return annotation of {function.__qualname__}"
    if annotation is types.NoneType:
        return Form(())
    if typing.is_typeddict(annotation) or dataclasses.is_dataclass(annotation):
        hints = typing.get_type_hints(annotation)
        kinds = ((_name(name, where), _declared_kind(hint)) for name, hint in hints.items())
        found = tuple((name, kind) for name, kind in kinds if kind is not None)
        if len(found) != len(hints):
            raise UsageError(f"{where}: only numbers, bools and strs can be replied")
        return Form(found)
    kind = _declared_kind(annotation)
    return None if kind is None else Form((("", kind),))


def _declared_kind(annotation: Any) -> Kind | None:
    if annotation in _NUMBERS:
        return "number"
    return "text" if annotation is str else None


def _name(name: Any, where: str) -> str:
    if not isinstance(name, str) or not name:
        raise ReplyError(f"{where}: the keys of a reply are names, not {name!r}")
    if name in TAKEN:
        raise ReplyError(f"{where}: the name {name!r} is taken by the run itself; choose another")
    return name


def _kind(value: Any, where: str) -> Kind:
    if isinstance(value, float | int | np.floating | np.integer | np.bool_):
        return "number"
    if isinstance(value, str):
        return "text"
    raise ReplyError(
        f"{where}: a reply is a number, a bool, a str or a dict of these, not {_short(value)}"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '...'}"


def _as_dict(reply: Any) -> Any:
    if isinstance(reply, Mapping):
        return reply
    if dataclasses.is_dataclass(reply):
        return {field.name: getattr(reply, field.name) for field in dataclasses.fields(reply)}
    return None


def collect(
    form: Form, replies: list[Any], failed: NDArray[np.bool_]
) -> tuple[dict[str, Column], dict[int, ReplyError]]:
    """Turn replies into columns; those of another form are errors, by position.

    Parameters
    ----------
    form
        What every reply should be.
    replies
        One per agent; anything where `failed`.
    failed
        Which agents failed before; bool, of the length of `replies`.

    Returns
    -------
    columns, errors
        A column per name, NaN or ``""`` where an agent failed or its reply does not fit.

    """
    at = np.flatnonzero(~failed)
    fine = replies if len(at) == len(replies) else [replies[row] for row in at.tolist()]
    errors: dict[int, ReplyError] = {}
    columns = _by_name(form, fine)
    if columns is None:  # some reply is odd: look at each
        at, columns, errors = _one_by_one(form, fine, at)
    if len(at) < len(replies):
        for name, kind in form.kinds:
            blanks = _column(kind, [_BLANK[kind]] * len(replies))
            columns[name] = blanks.put(at, columns[name])
    return columns, errors


def collect_arrays(
    form: Form | None, reply: Any, n: int, where: str
) -> tuple[Form, dict[str, Column]]:
    """Turn what a whole block replied into its form and a column per name.

    Parameters
    ----------
    form
        What is replied, where it is known.
    reply
        An array of shape (n,) or one value for all, a dict or dataclass of these, or None.
    n
        Agents in the block.
    where
        The class and method, for errors.

    Raises
    ------
    ReplyError
        If the reply has another form or another number of values.

    """
    by_name = _as_dict(reply)
    found = {"": reply} if by_name is None and reply is not None else by_name or {}
    columns: dict[str, Column] = {}
    kinds: list[tuple[str, Kind]] = []
    for name, value in found.items():
        place = f"{where}[{name!r}]" if name or by_name is not None else where
        kind, columns[name] = _array_column(value, n, place)
        kinds.append((_name(name, where) if by_name is not None else "", kind))
    made = Form(tuple(kinds))
    if form is None:
        return made, columns
    if dict(form.kinds) != dict(kinds):
        raise ReplyError(f"{where} replied {made}, and this method replies {form}")
    return form, {name: columns[name] for name, _ in form.kinds}


def _array_column(value: Any, n: int, where: str) -> tuple[Kind, Column]:
    """Return the kind and the column of one value for all agents, or of one for each."""
    array = np.asarray(value)
    if array.ndim == 0:
        kind = _kind(value.item() if isinstance(value, np.ndarray) else value, where)
        return kind, repeat(_column(kind, [array.item()]), n)
    if array.shape != (n,):
        raise ReplyError(f"{where} has the shape {array.shape}, and there are {n} agents here")
    if array.dtype.kind in "fiub":
        return "number", Plain(array.astype(np.float64))
    values = array.tolist()
    if not all(isinstance(one, str) for one in values):
        kinds = ", ".join(sorted({type(one).__name__ for one in values}))
        raise ReplyError(f"{where}: an array of a reply holds numbers, or texts, not {kinds}")
    try:
        return "text", compact_strings(values)
    except UnicodeEncodeError as error:
        raise ReplyError(f"{where}: {error}") from None


def absent(form: Form, n: int) -> dict[str, Column]:
    """Return the columns of `n` agents that did not reply."""
    return {name: repeat(_column(kind, [_BLANK[kind]]), n) for name, kind in form.kinds}


def hide(form: Form, columns: Mapping[str, Column], failed: NDArray[np.bool_]) -> dict[str, Column]:
    """Return replies with NaN or ``""`` where an agent failed."""
    at = np.flatnonzero(failed)
    return {
        name: columns[name].put(at, _column(kind, [_BLANK[kind]] * len(at)))
        for name, kind in form.kinds
    }


def only(form: Form, columns: Mapping[str, Column]) -> Any:
    """Return the reply of a block of one agent."""
    values = {name: as_numpy(columns[name]).item() for name, _ in form.kinds}
    return values[""] if form.single else values or None


def _by_name(form: Form, replies: list[Any]) -> dict[str, Column] | None:
    """Return the columns of all replies at once if they are as the form says, else None."""
    if not form.kinds:
        return {} if all(reply is None for reply in replies) else None
    if form.single:
        return columns_of(form, [replies])
    names = [name for name, _ in form.kinds]
    if set(map(type, replies)) != {dict} or set(map(len, replies)) != {len(names)}:
        return None
    try:
        return columns_of(form, [list(map(itemgetter(name), replies)) for name in names])
    except KeyError:
        return None


def columns_of(form: Form, values: list[list[Any]]) -> dict[str, Column] | None:
    """Return columns of values, a list for each name of the form; None if some value is odd."""
    columns = {}
    for (name, kind), each in zip(form.kinds, values, strict=True):
        if not set(map(type, each)) <= _PLAIN[kind]:
            return None
        try:
            columns[name] = _column(kind, each)
        except (OverflowError, UnicodeEncodeError):
            return None
    return columns


def _one_by_one(
    form: Form, replies: list[Any], at: NDArray[np.int64]
) -> tuple[NDArray[np.int64], dict[str, Column], dict[int, ReplyError]]:
    """Return which replies fit, their columns, and the errors of the others."""
    fitting: dict[int, list[Any]] = {}
    errors: dict[int, ReplyError] = {}
    for row, reply in zip(at.tolist(), replies, strict=True):
        try:
            fitting[row] = _fit(form, reply)
        except ReplyError as error:
            errors[row] = error
    columns = {
        name: _column(kind, [values[index] for values in fitting.values()])
        for index, (name, kind) in enumerate(form.kinds)
    }
    return np.array(list(fitting), np.int64), columns, errors


def _fit(form: Form, reply: Any) -> list[Any]:
    """Return the values of one reply in the order of the form, or raise a `ReplyError`."""
    if form.single:
        values = [reply]
    else:
        given = {} if reply is None else _as_dict(reply)
        if given is None or set(given) != {name for name, _ in form.kinds}:
            raise ReplyError(f"replied {_short(reply)}, and this method replies {form}")
        values = [given[name] for name, _ in form.kinds]
    return [_value(form, name, kind, v) for (name, kind), v in zip(form.kinds, values, strict=True)]


def _value(form: Form, name: str, kind: Kind, value: Any) -> float | str:
    where = f"[{name!r}]" if name else ""
    try:
        if kind == "number" and _kind(value, "") == "number":
            return float(value)
        if kind == "text" and isinstance(value, str):
            value.encode()
            return str.__str__(value)
    except ReplyError:
        pass
    except (OverflowError, UnicodeEncodeError) as error:
        raise ReplyError(f"reply{where}: {error}") from None
    raise ReplyError(f"reply{where} is {_short(value)}, and this method replies {form}")


def _column(kind: Kind, values: list[Any]) -> Column:
    if kind == "text":
        return compact_strings(values)
    return Plain(np.array(values, np.float64), None)


def as_numpy(column: Column) -> NDArray[Any]:
    """Return a reply's column as xarray takes it: float64, or StringDType."""
    return column.values if isinstance(column, Plain) else strings(column)


def blank(kind: Kind, n: int) -> NDArray[Any]:
    """Return what `n` agents without a reply are in the results: NaN, or the empty string."""
    if kind == "number":
        return np.full(n, np.nan)
    return np.zeros(n, np.dtypes.StringDType())
