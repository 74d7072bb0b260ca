"""The next version of an environment, from the one before and what agents wrote: pure."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from daskagents.environments.base import Environment, Path
from daskagents.environments.ledger import Ledger, Parts, World, merge
from daskagents.environments.tree import Tree, Values, flatten, grow
from daskagents.errors import AdvanceError
from daskagents.rng import Draws
from daskagents.words import step_key

_WAITS = "by one within it: write to a field that is shared, self.parent.write(name, value)"


@dataclass(frozen=True)
class Realm:
    """What all versions of an environment share; sent to each worker once.

    Parameters
    ----------
    name
        The environment's name in the run.
    seed
        The seed of the run.
    tree
        What it is made of.
    large
        Paths of arrays that are sent by themselves; of these, `changing` may be assigned.
    growing
        Paths of fields that agents append to and that nobody assigns: versions have what is new.
    shapes
        Of all arrays: names of dimensions, and sizes.
    """

    name: str
    seed: int
    tree: Tree
    large: tuple[Path, ...] = ()
    changing: frozenset[Path] = frozenset()
    growing: tuple[Path, ...] = ()
    shapes: Mapping[Path, tuple[tuple[Any, int], ...]] = field(default_factory=dict)


def advance(realm: Realm, number: int, values: Values, parts: Parts) -> dict[Path, Any]:
    """Return the values of a version.

    Parameters
    ----------
    realm
        The environment.
    number
        Of the version that is made.
    values
        Of the version before.
    parts
        What agents wrote to it, merged.

    Raises
    ------
    AdvanceError
        If ``advance`` raises, of the environment or of one within; with the line.
    """
    whole = grow(realm.tree, values, "")
    _Advance(realm, number, parts).go(realm.tree, whole, ())
    return flatten(whole)


@dataclass
class _Advance:
    realm: Realm
    number: int
    parts: Parts
    upward: dict[Path, list[Any]] = field(default_factory=dict)

    def go(self, tree: Tree, env: Environment, path: Path) -> None:
        """Advance the environments within, then this one."""
        state: dict[str, Any] = env.__dict__
        parts = [self._within(tree, env, path)] if tree.inner else []
        own = {
            name: self.parts[*path, name]
            for name in tree.cls.__fields__
            if (*path, name) in self.parts
        }
        merged = merge(Tree(tree.cls, {}), [{(n,): p for n, p in own.items()}, *parts])
        for (name,), part in merged.items():
            reducer = tree.cls.__fields__[str(name)].reducer
            if reducer is not None:
                state[str(name)] = reducer.join(state[str(name)], part)
        if tree.cls.advance is Environment.advance:
            return
        said = "/".join(map(str, (self.realm.name, *path)))
        key = step_key(self.realm.seed, f"{said}/advance", self.number)
        object.__setattr__(env, "rng", Draws(key, np.zeros(1, np.int64)).rng(0))
        try:
            env.advance()
        except Exception as error:
            raise self._failure(tree, path, error) from None

    def _within(self, tree: Tree, env: Environment, path: Path) -> Parts:
        """Advance the environments within; return what they wrote to this one."""
        object.__setattr__(env, "_locked", _WAITS)
        ledger = Ledger(World(Tree(tree.cls, {}), {}))
        writes = ledger.view()
        env.__dict__["write"] = writes.__dict__["write"]
        count = 0
        for way, inner in tree.branches():
            one: Any = env
            for step in way:
                inside: Any = one.__dict__ if isinstance(one, Environment) else one
                one = inside[step]
            ledger.at, count = count, count + 1
            self.go(inner, one, (*path, *way))
        del env.__dict__["write"]
        object.__setattr__(env, "_locked", "")
        wrong = ledger.misfits()
        if wrong:
            raise self._failure(tree, path, next(iter(wrong.values())))
        return ledger.parts(np.zeros(count, bool))

    def _failure(self, tree: Tree, path: Path, error: BaseException) -> AdvanceError:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "daskagents/environments" not in f.filename.replace("\\", "/")]
        line = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
        within = "".join(f"[{step!r}]" for step in path)
        return AdvanceError(
            f"environment {self.realm.name!r}: {tree.cls.__name__}.advance{within} failed on the"
            f" way to version {self.number}: {type(error).__name__}: {error}{line}"
        )


__all__ = ["Realm", "advance"]
