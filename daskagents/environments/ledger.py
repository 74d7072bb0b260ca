"""What the agents of a block write to an environment while they reply, and who wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskagents.environments.base import Declared, Environment, Path
from daskagents.environments.reducers import Folded, Histogram
from daskagents.environments.tree import Tree, Values, grow
from daskagents.errors import FieldError, UsageError

#: What all agents of some blocks wrote: by path, a part as its reducer makes it.
Parts = Mapping[Path, Any]

_LOCKED = "by an agent: write to a field that is shared, self.env.write(name, value)"


@dataclass
class Written:
    """What was written to one field, and by whom, as positions among the addressed rows.

    `ordered` is whether it is known to be in order of these.
    """

    declared: Declared
    where: str
    values: list[Any] = field(default_factory=list)
    who: list[int] = field(default_factory=list)
    ordered: bool = True


@dataclass(frozen=True)
class World:
    """What a step sees of an environment.

    Parameters
    ----------
    tree, values
        The environment, and its version at the step's start.
    path, by
        Where agents see one of several environments each: these, and the field with its key.
    """

    tree: Tree
    values: Values
    path: Path = ()
    by: str = ""


class Ledger:
    """Lets the agents of one block see an environment, and notes what they write.

    Parameters
    ----------
    world
        What they see.

    Attributes
    ----------
    at : int
        The position of the agent at work, where they come one after another.
    """

    def __init__(self, world: World) -> None:
        self.world, self.at = world, 0
        self._written: dict[Path, Written] = {}
        self._views: dict[Any, Environment] = {}
        self._whole: Environment | None = None

    def view(self, key: Any = None) -> Environment:
        """Return the environment as agents see it who come one after another.

        Parameters
        ----------
        key
            Of the agent's own environment, where each has one.

        Raises
        ------
        UsageError
            If there is none of this key.
        """
        if key not in self._views:
            if self._whole is None:  # one for all keys: a country may have very many towns
                world = self.world
                self._whole = grow(world.tree, world.values, _LOCKED, bind=self._bind_loop)
            self._views[key] = self._own(self._whole, key)
        return self._views[key]

    def view_of(self, at: int, key: Any = None) -> Environment:
        """Return the environment as one agent sees it of many that wait at the same time."""

        def bind(env: Environment, path: Path) -> None:
            def write(name: str, value: Any = 1, where: Any = None) -> None:
                written = self._field(env, path, name)
                written.ordered = False
                written.values.append(value)
                written.who.append(at)

            env.__dict__["write"] = write

        return self._grow(key, bind)

    def view_of_block(self, n: int) -> Environment:
        """Return the environment as `reply_block` sees it, which writes for `n` agents at once."""
        if self.world.by:
            raise UsageError(
                f"each agent has an environment of its own, by its {self.world.by!r}, and a block"
                " has none; write def reply(self, message)"
            )

        def bind(env: Environment, path: Path) -> None:
            def write(name: str, value: Any = 1, where: Any = None) -> None:
                written = self._field(env, path, name)
                rows = np.arange(n) if where is None else _rows(where, n)
                many = np.asarray(value)
                if many.ndim and many.shape != (n,):
                    raise FieldError(
                        f"{written.where}: {many.shape} values were written for {n} agents; write"
                        " one for each, or one for all"
                    )
                values = many[rows].tolist() if many.ndim else [value] * len(rows)
                written.ordered = not written.values
                written.values += values
                written.who += rows.tolist()

            env.__dict__["write"] = write

        return self._grow(None, bind)

    def _grow(self, key: Any, bind: Any) -> Environment:
        """Put the environment together; return it, or the one of a key within."""
        world = self.world
        return self._own(grow(world.tree, world.values, _LOCKED, bind=bind), key)

    def _own(self, whole: Environment, key: Any) -> Environment:
        """Return the environment of a key within the whole, or that itself."""
        world = self.world
        if not world.by:
            return whole
        found: Any = whole
        for name in world.path:
            found = getattr(found, str(name))
        if key not in found:
            where = ".".join([world.tree.cls.__name__, *map(str, world.path)])
            raise UsageError(f"{where} has none of the key {key!r}, which {world.by!r} is")
        return found[key]  # type: ignore[no-any-return]

    def _bind_loop(self, env: Environment, path: Path) -> None:
        """Give an environment what agents write with, as fast as their loop needs it."""
        lists: dict[str, tuple[Any, Any]] = {}
        for name, declared in env.__fields__.items():
            if declared.reducer is not None:
                written = self._field(env, path, name)
                lists[name] = written.values.append, written.who.append

        def write(name: str, value: Any = 1, where: Any = None) -> None:
            try:
                put, note = lists[name]
            except KeyError:
                raise _not_shared(type(env), name) from None
            put(value)
            note(self.at)

        env.__dict__["write"] = write

    def _field(self, env: Environment, path: Path, name: str) -> Written:
        where = (*path, name)
        if where not in self._written:
            declared = env.__fields__.get(name)
            if declared is None or declared.reducer is None:
                raise _not_shared(type(env), name)
            self._written[where] = Written(declared, f"{type(env).__name__}.{name}")
        return self._written[where]

    def misfits(self) -> dict[int, BaseException]:
        """Coerce all that was written; return why some does not fit, by who wrote it."""
        errors: dict[int, BaseException] = {}
        for written in self._written.values():
            declared = written.declared
            if not written.values or declared.written is None:
                continue
            written.values, wrong = declared.written.bulk(written.values)
            errors |= {written.who[at]: error for at, error in wrong.items()}
            if isinstance(declared.reducer, Histogram) and not wrong:
                outside = declared.reducer.misfit(written.values)
                errors |= {
                    written.who[at]: FieldError(f"{written.where}: {said}")
                    for at, said in outside.items()
                }
        return errors

    def parts(self, failed: NDArray[np.bool_]) -> dict[Path, Any]:
        """Return what was written, reduced by field; without what those wrote who failed."""
        found: dict[Path, Any] = {}
        for path, written in self._written.items():
            values = _in_order(written, failed)
            reducer = written.declared.reducer
            if not len(values) or reducer is None:
                continue
            if isinstance(reducer, Folded):
                reducer.try_on(written.where, list(dict.fromkeys(values[:100]))[:3])
            found[path] = reducer.block(values)
        return found


def _in_order(written: Written, failed: NDArray[np.bool_]) -> Sequence[Any]:
    """Return the values of those who did not fail, in order of who wrote them."""
    if written.ordered and not failed.any():
        return written.values
    who = np.asarray(written.who, np.int64)
    order = None if (np.diff(who) >= 0).all() else np.argsort(who, kind="stable")
    if failed.any():
        order = np.arange(len(who)) if order is None else order
        order = order[~failed[who[order]]]
    values = written.values
    return values if order is None else [values[at] for at in order.tolist()]


def merge(tree: Tree, parts: Sequence[Parts]) -> Parts:
    """Return what several blocks wrote as one, in their order."""
    by_path: dict[Path, list[Any]] = {}
    for part in parts:
        for path, value in part.items():
            by_path.setdefault(path, []).append(value)
    found: dict[Path, Any] = {}
    for path, values in by_path.items():
        reducer = tree.leaf(path).reducer
        if reducer is not None:
            found[path] = values[0] if len(values) == 1 else reducer.merge(values)
    return found


def _rows(where: Any, n: int) -> NDArray[np.int64]:
    mask = np.asarray(where)
    if mask.dtype != bool or mask.shape != (n,):
        raise UsageError(
            f"where takes a bool for each of {n} agents, not {mask.dtype} of {mask.shape}"
        )
    return np.flatnonzero(mask)


def _not_shared(cls: type[Environment], name: str) -> FieldError:
    shared = [field for field, declared in cls.__fields__.items() if declared.reducer is not None]
    if name in cls.__fields__:
        return FieldError(
            f"{cls.__name__}.{name} is not shared, and agents cannot write to it; declare it so:"
            f" {name} = da.shared(..., reduce='sum')"
        )
    known = f"those shared are {', '.join(shared)}" if shared else "it shares none"
    return FieldError(f"{cls.__name__} has no field {name!r} to write to; {known}")


__all__ = ["Ledger", "Parts", "World", "merge"]
