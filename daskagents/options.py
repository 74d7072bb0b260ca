"""Options: values of a function's parameters, read from texts."""

from __future__ import annotations

import difflib
import enum
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from daskagents.errors import UsageError

_YES, _NO = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what a function's parameters and result are annotated with, as far as it can be read.

    Each is looked up by itself, so that a name only a type checker knows hides no other.
    """
    found = {}
    for name, annotation in inspect.get_annotations(function).items():
        if isinstance(annotation, str):
            try:
                annotation = eval(annotation, function.__globals__)
            except (NameError, AttributeError):
                continue
        found[name] = annotation
    return found


def read(
    function: Callable[..., Any], options: Mapping[str, str], skip: Collection[str] = ()
) -> dict[str, Any]:
    """Read the options that a function takes, as its annotations and defaults say.

    Parameters
    ----------
    function
        The function.
    options
        Texts by name; those that are no parameters are left out.
    skip
        Parameters to leave out too.

    Raises
    ------
    UsageError
        If a text is no such value.

    Examples
    --------
    >>> def game(players, rounds: int = 5, ratio=0.5): ...
    >>> read(game, {"rounds": "3", "ratio": "2/3"})
    {'rounds': 3, 'ratio': 0.6666666666666666}

    """
    wanted = hints_of(function)
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in options and name not in skip:
            default = parameter.default
            guess = Any if default in (None, parameter.empty) else type(default)
            found[name] = convert(name, options[name], wanted.get(name, guess))
    return found


def convert(name: str, text: str, wanted: Any = Any) -> Any:
    """Read one value from a text.

    Parameters
    ----------
    name
        The parameter's name, for the error.
    text
        The text.
    wanted
        float, int, bool, str, Path, an Enum, a Literal, or one of them or None. Any reads a
        number where it is one, and else a text.

    Raises
    ------
    UsageError
        If the text is no such value.

    Examples
    --------
    >>> convert("ratio", "2/3", float), convert("rounds", "5"), convert("name", "none", str | None)
    (0.6666666666666666, 5, None)
    >>> convert("rounds", "5.5", int)
    Traceback (most recent call last):
    daskagents.errors.UsageError: rounds=5.5: give a whole number

    """
    origin = typing.get_origin(wanted)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(name, text, typing.get_args(wanted))
    choices: dict[str, Any] | None = None
    if origin is typing.Literal:
        choices = {str(choice): choice for choice in typing.get_args(wanted)}
    elif isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        choices = dict(wanted.__members__)
    if choices is not None:
        if text not in choices:
            raise UsageError(f"{name}={text}: give one of {', '.join(choices)}")
        return choices[text]
    read, what = _READERS.get(wanted, (None, ""))
    if read is None:
        raise UsageError(f"{name} is a {getattr(wanted, '__name__', wanted)}, which no text can be")
    try:
        return read(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{name}={text}: give {what}") from None


def _convert_union(name: str, text: str, options: tuple[Any, ...]) -> Any:
    """Read one of several types: None by its name, else the first that fits."""
    if type(None) in options and text.lower() == "none":
        return None
    rest = [option for option in options if option is not type(None)]
    for option in rest[:-1]:
        try:
            return convert(name, text, option)
        except UsageError:
            continue
    return convert(name, text, rest[-1])


def _float(text: str) -> float:
    return float(Fraction(text)) if "/" in text else float(text)


def _bool(text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise ValueError
    return text.lower() in _YES


def _any(text: str) -> int | float | str:
    for read in (int, _float):
        try:
            return read(text)
        except (ValueError, ZeroDivisionError):
            continue
    return text


_READERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    float: (_float, "a number, such as 0.5 or 2/3"),
    int: (int, "a whole number"),
    bool: (_bool, "yes or no"),
    str: (str, "a text"),
    Path: (Path, "a path"),
    Any: (_any, "a value"),
}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question for what was meant, if anything is near.

    Examples
    --------
    >>> did_you_mean("round", ["players", "rounds"])
    "; did you mean 'rounds'?"

    """
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
