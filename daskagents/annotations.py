"""Annotations of fields: the codec that each means, and why some mean none."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Mapping, Sequence
from collections.abc import Set as AnySet
from enum import Enum, Flag
from types import NoneType, UnionType
from typing import Annotated, Any, ForwardRef, Literal, NewType, Union, get_args, get_origin

import numpy as np

from daskagents.codec import Codec
from daskagents.errors import FieldError
from daskagents.packed import LIKE, SCALARS, Anything, Choice, Either, Fixed, Many, Maybe, Record
from daskagents.scalars import Members

#: The dataclasses around an annotation.
Within = tuple[type[Any], ...]


def read_annotation(where: str, annotation: Any, within: Within = ()) -> Codec[Any]:
    """Return the codec of an annotation.

    Parameters
    ----------
    where
        The class and the field, for errors.
    annotation
        A type, as `typing.get_type_hints` returns it.
    within
        The dataclasses whose members are being read.

    Raises
    ------
    FieldError
        If no field can be of this type; with what to use instead.

    Examples
    --------
    >>> read_annotation("Player.friends", tuple[str, ...]).label
    'tuple[str, ...]'
    >>> read_annotation("Player.friends", list[str])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    daskagents.errors.FieldError: Player.friends: list is mutable, and ...; use tuple[str, ...]
    """
    annotation = _bare(annotation)
    origin = get_origin(annotation)
    if annotation is Any:
        return Anything()
    if origin in (Union, UnionType):
        return _read_union(where, get_args(annotation), within)
    if origin is Literal:
        return _read_literal(where, get_args(annotation))
    cls = origin or annotation
    if not isinstance(cls, type):
        raise _no_type(where, annotation)
    if cls in SCALARS:
        return SCALARS[cls]
    if cls is tuple:
        return _read_tuple(where, annotation, within)
    if issubclass(cls, Enum) and not issubclass(cls, Flag) and len(cls) > 0:
        return Members(cls)
    if dataclasses.is_dataclass(cls) and not issubclass(cls, Enum):
        return _read_dataclass(where, cls, within)
    raise _refusal(where, cls, annotation)


def _bare(annotation: Any) -> Any:
    """Return an annotation without Annotated, NewType and aliases around it."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # `type X = ...`, from Python 3.12 on
            annotation = annotation.__value__
        else:
            return annotation


def _read_union(where: str, args: Sequence[Any], within: Within) -> Codec[Any]:
    codecs, optional = [], NoneType in args
    for arg in args:
        if arg is not NoneType:
            codec = read_annotation(where, arg, within)
            optional = optional or isinstance(codec, Maybe)  # Literal[..., None]
            codecs.append(codec.inner if isinstance(codec, Maybe) else codec)
    whole = codecs[0] if len(codecs) == 1 else Either(codecs)
    return Maybe(whole) if optional else whole


def _read_literal(where: str, args: Sequence[Any]) -> Codec[Any]:
    values = [value for value in args if value is not None]
    kinds = {type(value) for value in values}
    if not values or not kinds <= SCALARS.keys():
        odd = next((value for value in args if type(value) not in SCALARS), None)
        raise FieldError(
            f"{where}: {odd!r} cannot be in a Literal of a field; use strs, ints, bools, floats or"
            " bytes; for members of an Enum, the Enum itself"
        )
    base = SCALARS[kinds.pop()] if len(kinds) == 1 else Anything()
    for value in values:
        try:
            base.coerce(value)
        except FieldError as error:
            raise FieldError(f"{where}: {' '.join(error.args[1:])}") from None
    codec = Choice(base, values)
    return codec if None not in args else Maybe(codec)


def _read_tuple(where: str, annotation: Any, within: Within) -> Codec[Any]:
    args = get_args(annotation)
    if annotation in (tuple, typing.Tuple):  # noqa: UP006 - tuple[()] has no arguments either
        return Many(Anything())
    if len(args) == 2 and args[1] is Ellipsis:
        return Many(read_annotation(where, args[0], within))
    return Fixed([read_annotation(where, arg, within) for arg in args])


def _read_dataclass(where: str, cls: type[Any], within: Within) -> Codec[Any]:
    if not cls.__dataclass_params__.frozen:
        raise _mutable(where, cls.__name__, "@dataclass(frozen=True) for it")
    if cls in within:
        raise FieldError(
            f"{where}: {cls.__name__} holds another {cls.__name__}, and how deep is not known when"
            " the class is made; keep a tuple of them side by side, with the position of each in it"
        )
    if any("__new__" in vars(base) for base in cls.__mro__[:-1]):
        raise FieldError(f"{where}: {cls.__name__} has a __new__ of its own; leave it out")
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        raise FieldError(
            f"{where}: an annotation of {cls.__name__} cannot be read ({error}); define its type at"
            " the top of the module, before the class"
        ) from None
    names = [member.name for member in dataclasses.fields(cls)]
    around = (*within, cls)
    return Record(
        cls, {name: read_annotation(f"{where}.{name}", hints[name], around) for name in names}
    )


def _mutable(where: str, shown: str, cure: str) -> FieldError:
    return FieldError(
        f"{where}: {shown} is mutable, and the state of an agent is made of immutable values; use"
        f" {cure}"
    )


def _refusal(where: str, cls: type[Any], annotation: Any) -> FieldError:
    """Say why a class is no type of a field, and what to use."""
    inner = ", ".join(map(show, get_args(annotation)))
    library = cls.__module__.partition(".")[0]
    if issubclass(cls, bytearray | memoryview):
        return _mutable(where, cls.__name__, "bytes")
    if issubclass(cls, np.ndarray) or library in ("xarray", "pandas"):
        return _mutable(where, cls.__name__, "tuple[float, ...], or one field per number")
    if issubclass(cls, Mapping):
        pairs = f"tuple[tuple[{inner}], ...]" if inner else "tuple"
        return _mutable(where, cls.__name__, f"a frozen dataclass, or a tuple of pairs: {pairs}")
    if issubclass(cls, frozenset):
        return FieldError(
            f"{where}: the order of a frozenset differs from one process to the next, and so would"
            f" the run; use tuple[{inner or 'str'}, ...], sorted"
        )
    if issubclass(cls, AnySet) or (issubclass(cls, Sequence) and not issubclass(cls, tuple | str)):
        return _mutable(where, cls.__name__, f"tuple[{inner}, ...]" if inner else "tuple")
    if issubclass(cls, Flag):
        return FieldError(f"{where}: {cls.__name__} is a Flag; use int, or one bool per flag")
    if issubclass(cls, Enum):
        return FieldError(f"{where}: {cls.__name__} has no members")
    if issubclass(cls, np.generic):
        plain = next((kind for kind, like in LIKE.items() if issubclass(cls, like)), None)
        cure = f"{plain.__name__}, which takes values of NumPy too" if plain else "float or int"
        return FieldError(f"{where}: {cls.__name__} is a type of NumPy; use {cure}")
    return _no_type(where, annotation)


def _no_type(where: str, annotation: Any) -> FieldError:
    if isinstance(annotation, str | ForwardRef):
        return FieldError(
            f"{where}: the annotation {show(annotation)} cannot be read; define its type at the top"
            " of the module, before the class"
        )
    return FieldError(
        f"{where}: a field cannot be of type {show(annotation)}; use float, int, bool, str, bytes,"
        " tuple, an Enum, a @dataclass(frozen=True) of these, or a union of these and None"
    )


def show(annotation: Any) -> str:
    """Return an annotation as it is written."""
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    if isinstance(annotation, str | ForwardRef):
        return repr(getattr(annotation, "__forward_arg__", annotation))
    return "..." if annotation is Ellipsis else str(annotation).replace("typing.", "")


#: What runs between the statement of a class and `_around`.
_MAKERS = frozenset({"__init_subclass__", "_own_fields", "own_annotations", "_around"})


def own_annotations(cls: type[Any]) -> dict[str, Any]:
    """Return the annotations of the class body, those written as text resolved."""
    module = sys.modules.get(cls.__module__)
    scope = {**(vars(module) if module else {}), **_around(), cls.__name__: cls}
    try:
        return inspect.get_annotations(cls, globals=scope, locals=dict(vars(cls)), eval_str=True)
    except NameError as error:
        raise FieldError(
            f"{cls.__name__}: an annotation cannot be read ({error}); define its type at the top"
            " of the module, before the class"
        ) from None


def _around() -> dict[str, Any]:
    """Return the names that are known where the statement of a class stands: in a function, its."""
    frame = inspect.currentframe()
    while frame and frame.f_code.co_name in _MAKERS:
        frame = frame.f_back
    return dict(frame.f_locals) if frame else {}
