"""Environments: the shared state of a world, declared as a class."""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np

from daskagents.annotations import own_annotations
from daskagents.environments.portrait import portrait
from daskagents.environments.reducers import Reducer, make_reducer
from daskagents.errors import FieldError, UsageError
from daskagents.fields import MISSING, Field, make_field
from daskagents.rng import Draws, Rng
from daskagents.words import step_key

#: Where a value is in an environment: names of fields, and keys of the environments within.
Path = tuple[str | int, ...]
#: Names that mean something to every environment and so cannot be fields.
RESERVED = frozenset("write set now branch advance parent rng".split())


@dataclass(frozen=True)
class Shared:
    """What `shared` declares: the value at the start, and how what agents write is reduced."""

    default: Any
    reduce: Any
    bins: Sequence[float] | None = None


def shared(
    default: Any = MISSING,
    *,
    reduce: str | Callable[[Any, Any], Any],
    bins: Sequence[float] | None = None,
) -> Any:
    """Declare a field of an environment that agents write to.

    Parameters
    ----------
    default
        The value at the start; for ``"append"``, ``"union"`` and ``"histogram"`` it may be left
        out.
    reduce
        What becomes of all that agents write in a step, and of the value before: ``"sum"``,
        ``"count"``, ``"min"``, ``"max"``; ``"mean"``, of this step alone; ``"append"`` and
        ``"union"``, a tuple in order of the agents; ``"last"``, by order of the agents;
        ``"histogram"``, a tuple of counts; or a function of two values that is commutative and
        associative, such as ``math.gcd``.
    bins
        The edges of the intervals of a histogram.

    Examples
    --------
    >>> import daskagents as da
    >>> class Market(da.Environment):
    ...     price: float = 10.0
    ...     demand: float = da.shared(0.0, reduce="sum")
    ...     notes: tuple[str, ...] = da.shared(reduce="append")
    >>> Market().demand, Market(price=12).price
    (0.0, 12.0)
    """
    return Shared(default, reduce, bins)


@dataclass(frozen=True)
class Declared:
    """A field of an environment.

    Parameters
    ----------
    name
        Its name.
    kind
        What it holds: a value, an array, another environment, or one for each of some keys.
    field
        Takes and keeps its values; None of arrays and environments.
    reducer
        Of what agents write to it; None where they may not.
    written
        Takes what they write.
    inner
        The class of the environments within.
    default
        The value at the start, or `MISSING`.
    """

    name: str
    kind: Literal["value", "array", "one", "many"]
    field: Field | None = None
    reducer: Reducer | None = None
    written: Field | None = None
    inner: type[Environment] | None = None
    default: Any = MISSING

    def coerce(self, owner: str, value: Any) -> Any:
        """Return a value as one of this field, or raise a `FieldError`."""
        where = f"{owner}.{self.name}"
        if self.field is not None:
            return self.field.coerce(value)
        if self.kind == "array":
            return _array(where, value)
        if self.kind == "one":
            return _environment(where, value, self.inner)
        if not isinstance(value, Mapping):
            raise FieldError(f"{where}: {value!r} is no mapping of keys to environments")
        for key, inside in value.items():
            if type(key) not in (str, int):
                raise FieldError(f"{where}: the key {key!r} is neither a str nor an int")
            _environment(f"{where}[{key!r}]", inside, self.inner)
        return MappingProxyType(dict(value))


class Environment:
    """The shared state of a world: agents read one version of it, and write to the next.

    Subclass it and declare fields with annotations: numbers, texts, tuples, frozen dataclasses,
    arrays (``xr.DataArray``), other environments, and ``dict[str, Town]`` for many of a kind. In a
    step, agents read ``self.env.price`` as it was at the step's start, and write to fields that
    are declared with `shared`: ``self.env.write("demand", 1.0)``. When all have replied, what they
    wrote is merged, and `advance` makes the next version.

    Parameters
    ----------
    **values
        Values of the declared fields, by name; the others get their defaults.

    Attributes
    ----------
    parent : Environment
        Of an environment within another one: that one, to be read and written to.
    rng : Rng
        In `advance`: random numbers that depend on the run's seed, the environment's name and the
        version, and on nothing else.

    Raises
    ------
    FieldError
        When the class is made: for a field of a mutable type, a reserved name, a reducer that does
        not fit. When an environment is made: for an unknown field or a value that does not fit.

    Examples
    --------
    >>> import daskagents as da
    >>> class Market(da.Environment):
    ...     price: float = 10.0
    ...     demand: float = da.shared(0.0, reduce="sum")
    ...
    ...     def advance(self):
    ...         self.price += 0.1 * self.demand
    ...         self.demand = 0.0
    >>> class Trader(da.Agent):
    ...     taste: float = 0.0
    ...
    ...     def reply(self, message):
    ...         self.env.write("demand", self.taste - self.env.price)
    ...         return self.env.price
    >>> market, traders = Market(), da.Population(Trader, {"taste": [9.0, 13.0, 14.0]})
    >>> traders.reply(env=market).values, traders.reply(env=market).values
    (array([10., 10., 10.]), array([10.6, 10.6, 10.6]))
    """

    __slots__ = ("__dict__", "__weakref__", "_locked", "_seat", "_start", "parent", "rng")

    __fields__: ClassVar[dict[str, Declared]] = {}
    _locked: str
    _seat: Any
    _start: Mapping[str, Any]
    parent: Any
    rng: Rng

    def __init__(self, **values: Any) -> None:
        _begin(self)
        cls = type(self).__name__
        for name, value in values.items():
            setattr(self, name, value)
        for name, declared in self.__fields__.items():
            if name not in values:
                if declared.default is MISSING:
                    raise FieldError(f"{cls}.{name} has no default; give it: {cls}({name}=...)")
                self.__dict__[name] = declared.default

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        fields: dict[str, Declared] = {}
        for base in reversed(cls.__mro__[1:]):
            fields |= vars(base).get("__fields__", {})
        cls.__fields__ = fields | dict(_own_fields(cls, fields))
        for name in cls.__fields__.keys() & vars(cls).keys():
            delattr(cls, name)  # values are the instances' own, and read faster so
        if cls.__init__ is not Environment.__init__ or "__slots__" in vars(cls):
            raise UsageError(
                f"{cls.__name__} has an __init__ or __slots__, and versions of it are made without;"
                " declare fields with defaults: `price: float = 10.0`"
            )
        if typing.cast(Any, cls.advance).__code__.co_flags & 0x80:  # CO_COROUTINE
            raise UsageError(f"{cls.__name__}.advance waits for nobody; write `def advance(self)`")

    def advance(self) -> None:
        """Make the next version: called once a step, after all that was written is merged.

        Assigning fields is how it does so.
        """

    def write(self, name: str, value: Any = 1, where: Any = None) -> None:
        """Write to a shared field; of the agents of this environment, while they reply.

        Parameters
        ----------
        name
            A field that was declared with `shared`.
        value
            What is written; in `reply_block` an array of one for each agent, or one for all.
        where
            In `reply_block`, which agents write; by default all.

        Raises
        ------
        FieldError
            If the field is none that is shared.
        """
        raise UsageError(
            f"agents write to {type(self).__name__} while they reply; here, set its fields:"
            f" env.set({name}=...) in a workflow, self.{name} = ... in `advance`"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name in Environment.__slots__:
            object.__setattr__(self, name, value)
            return
        cls = type(self)
        if self._locked:
            raise UsageError(f"{cls.__name__}.{name} cannot be assigned {self._locked}")
        if self._seat is not None:
            raise UsageError(f"make a new version: env.set({name}=...)")
        if name not in self.__fields__:
            raise FieldError(unknown(cls, name))
        self.__dict__[name] = self.__fields__[name].coerce(cls.__name__, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "rng" and not self._locked:  # of one that stands alone
            self.rng = Draws(step_key(0, type(self).__name__, 0), np.zeros(1, np.int64)).rng(0)
            return self.rng
        if name in self.__fields__ and self._seat is not None:
            raise UsageError(
                f"{type(self).__name__}.{name} is another one in each version; read the newest as"
                f" env[{name!r}], which is still computing"
            )
        if name in self.__fields__:
            raise UsageError(
                f"{type(self).__name__}.{name} was not sent here, as no code was seen that reads"
                f" it; write it out where it is read: self.env.{name}"
            )
        raise AttributeError(unknown(type(self), name))

    def __repr__(self) -> str:
        known = self.__dict__ if self._seat is None else self._start
        shown = (f"{name}={known.get(name, '?')!r}" for name in self.__fields__)
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_html_(self) -> str:
        return portrait(self)

    def __getitem__(self, name: str) -> Any:
        """Return the value of a field in the newest version, still computing.

        Parameters
        ----------
        name
            Of a field of a number, a text or an array; of others, this waits for the value.
        """
        if name not in self.__fields__:
            raise UsageError(unknown(type(self), name))
        return _xarray(self.__dict__[name]) if self._seat is None else self._seat.get((name,))

    def set(self, **values: Any) -> None:
        """Make a new version with some other values: from a workflow, between two steps.

        Parameters
        ----------
        **values
            Values of fields by name; a number that is still computing is waited for by those who
            read it.
        """
        for name in values:
            if name not in self.__fields__:
                raise FieldError(unknown(type(self), name))
        if self._seat is not None:
            self._seat.set(values)
            return
        for name, value in values.items():
            setattr(self, name, value)

    @property
    def now(self) -> Branch:
        """The version as it is, for several populations that act at the same time.

        They all read it, what all of them write is merged, and `advance` comes once: when the
        environment itself is asked or read again, or the round ends.
        """
        return Branch(self, (), "", pinned=True)

    def branch(self, name: str, by: str) -> Branch:
        """Return the environments within this one as those of agents: each sees its own.

        Parameters
        ----------
        name
            A field of several environments, such as ``towns: dict[str, Town]``.
        by
            The field of the agents that holds the key of their own.
        """
        declared = self.__fields__.get(name)
        if declared is None or declared.kind != "many":
            many = [n for n, d in self.__fields__.items() if d.kind == "many"]
            said = f"it has {', '.join(many)}" if many else "it has none"
            raise UsageError(
                f"{type(self).__name__}.{name} holds no environments by key ({said});"
                f" declare it as `{name}: dict[str, Town]`"
            )
        return Branch(self, (name,), by)


@dataclass(frozen=True)
class Branch:
    """An environment as a step is given it: all of it, or to each agent a part.

    Parameters
    ----------
    whole
        The environment.
    path
        The field whose environments the agents see one of; empty for the whole.
    by
        The agents' field with their key.
    pinned
        Whether the next version waits for other steps that see the same one.
    """

    whole: Environment
    path: Path
    by: str
    pinned: bool = False

    @property
    def now(self) -> Branch:
        """The same, of the version as it is: see `Environment.now`."""
        return Branch(self.whole, self.path, self.by, pinned=True)


def _begin(env: Environment) -> None:
    """Fill the slots of one that stands alone."""
    put = object.__setattr__
    put(env, "_locked", "")
    put(env, "_seat", None)
    put(env, "_start", {})
    put(env, "parent", None)


def start_of(env: Environment) -> Environment:
    """Return an environment as it was before any step, on its own."""
    made = object.__new__(type(env))
    _begin(made)
    made.__dict__.update(env.__dict__ if env._seat is None else env._start)
    return made


def give_seat(env: Environment, seat: Any) -> None:
    """Let a session keep an environment: its values are those of versions from here on."""
    if env._seat is None:
        object.__setattr__(env, "_start", dict(env.__dict__))
        env.__dict__.clear()
    object.__setattr__(env, "_seat", seat)


def unknown(cls: type[Environment], name: str) -> str:
    """Say that `name` is no field of `cls`, and which there are."""
    known = ", ".join(cls.__fields__)
    return f"{cls.__name__} has no field {name!r}; " + (
        f"its fields are {known}" if known else f"declare it in the class: `{name}: float = 0.0`"
    )


def _own_fields(
    cls: type[Environment], inherited: Mapping[str, Declared]
) -> Iterator[tuple[str, Declared]]:
    """Yield the fields that the body of `cls` declares, or gives another default."""
    annotations, body = own_annotations(cls), vars(cls)
    for name, annotation in annotations.items():
        if typing.get_origin(annotation) is ClassVar or annotation is ClassVar:
            continue
        if name in RESERVED or name.startswith("_"):
            raise FieldError(f"{cls.__name__}.{name}: this name is reserved; choose another")
        yield name, _declare(cls, name, annotation, body.get(name, MISSING), inherited.get(name))
    for name in inherited.keys() & body.keys() - annotations.keys():
        before = inherited[name]
        kind = before.inner if before.field is None else before.field.type
        yield name, _declare(cls, name, kind, body[name], before)


def _declare(
    cls: type[Environment], name: str, annotation: Any, default: Any, before: Declared | None
) -> Declared:
    """Return the field that one annotation declares."""
    where = f"{cls.__name__}.{name}"
    how = default if isinstance(default, Shared) else None
    start = default if how is None else how.default
    kind, inner = _kind(annotation)
    if before is not None and before.kind != kind:
        raise FieldError(f"{where}: a base class declares it as something else")
    if kind != "value":
        if how is not None:
            raise FieldError(f"{where}: agents write numbers, texts and tuples, no {kind}")
        made = Declared(name, kind, inner=inner)
        return Declared(
            name,
            kind,
            inner=inner,
            default=start if start is MISSING else made.coerce(cls.__name__, start),
        )
    if how is None:
        reducer = None if before is None else before.reducer
        if reducer is not None and default is MISSING:
            start = before.default if before is not None else MISSING
    else:
        reducer = make_reducer(how.reduce, how.bins)
        reducer.check(where, annotation)
        if before is not None and before.reducer not in (None, reducer):
            old = before.reducer.name if before.reducer else ""
            raise FieldError(
                f"{where} has two reducers: {old!r} of a base class, and {reducer.name!r}; give it"
                " another name"
            )
        if start is MISSING and reducer.name in ("append", "union"):
            start = ()
        if start is MISSING and reducer.name == "histogram":
            start = (0,) * (len(reducer.edges) - 1)  # type: ignore[attr-defined]
        if start is MISSING:
            raise FieldError(f"{where} needs a value at the start: da.shared(0.0, reduce=...)")
    field = make_field(cls.__name__, name, annotation, start)
    written = None
    if reducer is not None:
        written = make_field(cls.__name__, name, reducer.written(annotation))
    return Declared(name, "value", field, reducer, written, None, field.default)


def _kind(annotation: Any) -> tuple[Literal["value", "array", "one", "many"], Any]:
    """Return what an annotation means, and the class of environments within."""
    if isinstance(annotation, type) and issubclass(annotation, Environment):
        return "one", annotation
    if typing.get_origin(annotation) is dict:
        key, inner = typing.get_args(annotation)
        if key in (str, int) and isinstance(inner, type) and issubclass(inner, Environment):
            return "many", inner
    module, name = getattr(annotation, "__module__", ""), getattr(annotation, "__name__", "")
    if (module or "").startswith("xarray.") and name == "DataArray":
        return "array", None
    return "value", None


def _array(where: str, value: Any) -> Any:
    """Return an array of numbers or texts as one that nobody can write to."""
    import xarray as xr  # costs a second; only those with arrays in their environments pay it

    if isinstance(value, np.ndarray):
        value = xr.DataArray(value)
    if not isinstance(value, xr.DataArray):
        raise FieldError(f"{where}: {type(value).__name__} is no xr.DataArray")
    data = np.array(value.values)
    if data.dtype.kind not in "fiub":
        raise FieldError(f"{where}: an array of {data.dtype}; give one of numbers or bools")
    data.flags.writeable = False
    return value.copy(data=data)


def _environment(where: str, value: Any, cls: type[Environment] | None) -> Any:
    if cls is not None and not isinstance(value, cls):
        raise FieldError(f"{where}: {value!r} is no {cls.__name__}")
    return value


def _xarray(value: Any) -> Any:
    """Return a value as a workflow reads it."""
    xr = sys.modules["xarray"] if "xarray" in sys.modules else __import__("xarray")
    if isinstance(value, xr.DataArray | Environment | Mapping):
        return value
    return (
        xr.DataArray(np.array(value, object)) if isinstance(value, tuple) else xr.DataArray(value)
    )


__all__ = [
    "Branch",
    "Declared",
    "Environment",
    "Path",
    "Shared",
    "give_seat",
    "shared",
    "start_of",
    "unknown",
]
