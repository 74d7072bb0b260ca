"""Environments taken apart into values by path, and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from daskagents.environments.base import Declared, Environment, Path

#: The values of an environment and of all within it, by path.
Values = Mapping[Path, Any]


@dataclass(frozen=True)
class Tree:
    """What an environment and those within it are made of, without their values.

    Parameters
    ----------
    cls
        The class.
    inner
        Those within it, by field, and by key where there are many.
    """

    cls: type[Environment]
    inner: Mapping[str, Tree | Mapping[str | int, Tree]]

    def at(self, path: Path) -> Tree:
        """Return the environment of a path within this one."""
        tree: Any = self
        for step in path:
            inside: Any = tree.inner if isinstance(tree, Tree) else tree
            tree = inside[step]
        return tree  # type: ignore[no-any-return]

    def branches(self) -> Iterator[tuple[Path, Tree]]:
        """Yield the environments right within this one, in order, with their paths."""
        for name, inner in self.inner.items():
            if isinstance(inner, Tree):
                yield (name,), inner
            else:
                yield from (((name, key), tree) for key, tree in inner.items())

    def leaves(self, path: Path = ()) -> Iterator[tuple[Path, Declared]]:
        """Yield all fields that hold values, of this one and those within."""
        for name, declared in self.cls.__fields__.items():
            if declared.kind in ("value", "array"):
                yield (*path, name), declared
        for way, tree in self.branches():
            yield from tree.leaves((*path, *way))

    def leaf(self, path: Path) -> Declared:
        """Return the field of a path."""
        return self.at(path[:-1]).cls.__fields__[str(path[-1])]

    def classes(self) -> set[type[Environment]]:
        """Return the classes of this one and all within."""
        return {self.cls}.union(*(tree.classes() for _, tree in self.branches()))


def tree_of(env: Environment) -> Tree:
    """Return what an environment is made of.

    Examples
    --------
    >>> import daskagents as da
    >>> class Town(da.Environment):
    ...     people: int = 0
    >>> class Country(da.Environment):
    ...     towns: dict[str, Town]
    >>> country = Country(towns={"a": Town(people=3), "b": Town()})
    >>> flatten(country)
    {('towns', 'a', 'people'): 3, ('towns', 'b', 'people'): 0}
    """
    inner: dict[str, Tree | Mapping[str | int, Tree]] = {}
    for name, declared in env.__fields__.items():
        value = env.__dict__[name]
        if declared.kind == "one":
            inner[name] = tree_of(value)
        elif declared.kind == "many":
            inner[name] = {key: tree_of(one) for key, one in value.items()}
    return Tree(type(env), inner)


def flatten(env: Environment, path: Path = ()) -> dict[Path, Any]:
    """Return the values of an environment and of all within it, as far as they are there."""
    found: dict[Path, Any] = {}
    for name, declared in env.__fields__.items():
        if name not in env.__dict__:
            continue
        value = env.__dict__[name]
        if declared.kind == "one":
            found |= flatten(value, (*path, name))
        elif declared.kind == "many":
            for key, one in value.items():
                found |= flatten(one, (*path, name, key))
        else:
            found[*path, name] = value
    return found


def grow(
    tree: Tree,
    values: Values,
    locked: str,
    path: Path = (),
    parent: Environment | None = None,
    bind: Callable[[Environment, Path], None] | None = None,
) -> Environment:
    """Put an environment together from values by path.

    Parameters
    ----------
    tree
        What it is made of.
    values
        Its values; a field without one says so when it is read.
    locked
        Why its fields cannot be assigned; empty where they can.
    path, parent
        Where it is.
    bind
        Is called with each environment and its path, to let it be written to.
    """
    env = tree.cls.__new__(tree.cls)
    put = object.__setattr__
    put(env, "_locked", locked)
    put(env, "_seat", None)
    put(env, "_start", {})
    put(env, "parent", parent)
    state = env.__dict__
    for name, declared in tree.cls.__fields__.items():
        where, inner = (*path, name), tree.inner.get(name)
        if declared.kind == "one" and isinstance(inner, Tree):
            state[name] = grow(inner, values, locked, where, env, bind)
        elif declared.kind == "many" and isinstance(inner, Mapping):
            state[name] = MappingProxyType(
                {
                    key: grow(one, values, locked, (*where, key), env, bind)
                    for key, one in inner.items()
                }
            )
        elif where in values:
            state[name] = values[where]
    if bind is not None:
        bind(env, path)
    return env


__all__ = ["Tree", "Values", "flatten", "grow", "tree_of"]
