"""An environment within a session: its newest version, and what waits to become the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from dask._task_spec import Task
from dask.array.core import Array

from daskagents.environments import files, tasks
from daskagents.environments.advance import Realm
from daskagents.environments.base import Branch, Declared, Environment, Path
from daskagents.environments.describing import entries
from daskagents.environments.files import part_name
from daskagents.environments.tasks import Needs, Seen
from daskagents.environments.tree import Tree, flatten, tree_of
from daskagents.errors import UsageError
from daskagents.past import LOST
from daskagents.plan import plan_each
from daskagents.scan import assigns, names_used

if TYPE_CHECKING:
    from daskagents.session import Session

#: Bytes from which on an array is sent by itself, and only where it is read.
LARGE = 1 << 16
#: Parts of what was written that one task merges.
_WIDTH = 32


@dataclass
class Made:
    """A version that is under way: the handle of what makes it."""

    owner: Versions
    number: int
    result: Any


@dataclass(frozen=True)
class Visit:
    """One step's sight of a version.

    Parameters
    ----------
    versions
        Of the environment.
    seen, sent
        What the step sees, and the handles of what is sent for it.
    pinned
        Whether other steps are to see the same version.
    writes
        Whether its agents may write.
    """

    versions: Versions
    seen: Seen
    sent: Sequence[Any]
    pinned: bool
    writes: bool

    @property
    def name(self) -> str:
        """Which version of what it is."""
        return f"{self.versions.name}@{self.versions.number}"

    def end(self, step: int, bundles: Sequence[Any]) -> None:
        """Take what the step's blocks write; make the next version, unless it waits for more."""
        self.versions.take(step, bundles if self.writes else ())
        if not self.pinned:
            self.versions.close()


@dataclass
class Versions:
    """Keeps the newest version of an environment, as handles; a step is given what it reads.

    Parameters
    ----------
    session
        Where it belongs to.
    name
        Its name in the session.
    realm, sealed, handle
        What all versions share: itself, as it is sent, and the handle of that.
    """

    session: Session
    name: str
    realm: Realm
    sealed: Any
    handle: Any
    number: int = 0
    small: Any = LOST
    large: dict[Path, Any] = field(default_factory=dict)
    parts: list[Any] = field(default_factory=list)
    _files: dict[Path, str] = field(default_factory=dict)
    _waiting: list[Any] = field(default_factory=list)
    _open: bool = False
    _step: int = -1

    def visit(self, branch: Branch, cls: type[Any], play: Any = None) -> Visit:
        """Let a step see the newest version; of what a scene reads and writes nothing is known."""
        if not branch.pinned:
            self.close()
        names = None if play else names_used(cls, "env")
        own = _names_of(self.realm.tree)
        read = None if names is None or own is None else names | own
        retracing = self.session.retracing
        needs, sent = (Needs(), []) if retracing else self._sent(read)
        used = None if play else names_used(cls)
        return Visit(
            self,
            Seen(needs, branch.path, branch.by),
            [self.handle, *sent],
            branch.pinned,
            used is None or "write" in used,
        )

    def _sent(self, read: frozenset[str] | None) -> tuple[Needs, list[Any]]:
        """Return what is sent to who reads fields of these names, None for all; and handles."""
        large = tuple(path for path in self.realm.large if read is None or path[-1] in read)
        grows = [path for path in self.realm.growing if read is None or path[-1] in read]
        parts = self.parts if grows else []
        needs = Needs(large, len(parts))
        return needs, [self.small, *(self.large[path] for path in large), *parts]

    def take(self, step: int, bundles: Sequence[Any]) -> None:
        """Take what the agents of a step write to the newest version."""
        self._open, self._step = True, step
        if bundles and not self.session.retracing:
            name = f"written-{self.name}-{step}-{self.session.token}"
            plan = plan_each(name, tasks.written, [(bundle,) for bundle in bundles])
            self._waiting += self.session.executor.submit(plan)

    def close(self) -> None:
        """Make the next version of what was written to this one, if steps have seen it."""
        if not self._open:
            return
        parts, self._waiting, self._open = self._waiting, [], False
        self.number += 1
        if self.session.retracing:
            return
        level = 0
        while len(parts) > _WIDTH:
            name = f"merged-{self.name}-{self.number}-{level}-{self.session.token}"
            groups = [parts[at : at + _WIDTH] for at in range(0, len(parts), _WIDTH)]
            rows = [(self.handle, *group) for group in groups]
            parts = self.session.executor.submit(plan_each(name, tasks.merged, rows))
            level += 1
        needs, sent = self._sent(_names_of(self.realm.tree))
        self._make(tasks.next_version, self._step, (needs, *sent, *parts))

    def _make(self, function: Any, step: int, arguments: tuple[Any, ...]) -> None:
        """Submit the task that makes the next version, and go on from it."""
        name = f"advance-{self.name}-{self.number}-{self.session.token}"
        row = (self.handle, self.number, step, self._written_to, *arguments)
        (result,) = self.session.executor.submit(plan_each(name, function, [row]))
        self.small = result
        if self.realm.changing and function is tasks.next_version:  # what is set leaves them
            rows = [(result, path) for path in sorted(self.realm.changing, key=str)]
            plan = plan_each(f"large-{name}", tasks.large_of, rows)
            self.large |= zip(
                [path for _, path in rows], self.session.executor.submit(plan), strict=True
            )
            plan = plan_each(f"small-{name}", tasks.small_of, [(result,)])
            (self.small,) = self.session.executor.submit(plan)
        if self.realm.growing:
            self.parts.append(self.small)
        if self.session.store is not None:
            self.session.made.append(Made(self, self.number, result))

    @property
    def _written_to(self) -> str | None:
        """Where tasks write versions; None nowhere, and empty where the client has to."""
        store = self.session.store
        return None if store is None else self.folder if store.shared else ""

    @property
    def folder(self) -> str:
        """Where versions are."""
        assert self.session.store is not None
        return str(self.session.store.environment(self.name))

    def set(self, values: Mapping[str, Any]) -> None:
        """Make a version with some other values."""
        self.close()
        cls = self.realm.tree.cls
        names, given = [], []
        for name, value in values.items():
            declared = cls.__fields__[name]
            where = f"{cls.__name__}.{name}"
            if declared.kind in ("one", "many"):
                raise UsageError(f"{where} is an environment; set its fields in `advance`")
            if (name,) in self.realm.growing:
                raise UsageError(
                    f"{where} only grows, by what agents write; assign it in `advance`"
                )
            lazy = isinstance(value, xr.DataArray) and isinstance(value.data, Array)
            if lazy and value.ndim == 0:
                (handle,) = self.session.lazies.carry(value.data)
                given.append(handle)
            else:
                value = value.item() if lazy is False and _is_single(value) else value
                given.append(declared.coerce(cls.__name__, value))
            names.append(name)
        self.number += 1
        large = [at for at, name in enumerate(names) if (name,) in self.realm.large]
        for at in large:
            self._keep_array((names[at],), given[at])
        if self.session.retracing:
            return
        small = [at for at in range(len(names)) if at not in large]
        self._make(
            tasks.set_values,
            self.session.count - 1,
            (self.small, tuple(names[at] for at in small), *(given[at] for at in small)),
        )

    def get(self, path: Path) -> xr.DataArray:
        """Return one value of the newest version, still computing."""
        self.close()
        declared = self.realm.tree.leaf(path) if _is_leaf(self.realm.tree, path) else None
        if declared is None:
            raise UsageError(
                f"{'.'.join(map(str, path))} is an environment; read what it holds from"
                " da.open_run(...).environment(...), or let `advance` write it upwards"
            )
        if path in self.realm.growing or not _is_array(declared):
            return self._read(path)
        shape: tuple[int, ...] = ()
        dims, coords = None, None
        if declared.kind == "array":
            start = self.realm.shapes[path]
            shape, dims = tuple(size for _, size in start), tuple(dim for dim, _ in start)
            coords = self._coords.get(path)
        array = self._lazy(path, declared, shape)
        return xr.DataArray(array, coords, dims, name=str(path[-1]))

    def _lazy(self, path: Path, declared: Declared, shape: tuple[int, ...]) -> Array:
        session, said = self.session, ".".join(map(str, (*path, self.number)))
        meta = self._meta(path, declared)
        key = f"version-{self.name}.{said}-{session.count}-{session.token}"
        where = (0,) * len(shape)
        if session.retracing:
            key = f"stored-{key}"
            task = Task(
                (key, *where), tasks.stored_array, self.sealed, path, self.folder, self.number
            )
            if path in self.realm.large:  # only those of checkpoints are written down
                key = f"lost-version-{self.name}.{said}-{session.count}-{session.token}"
                task = Task((key, *where), tasks.lost)
        else:
            if path in self.realm.large:
                row: tuple[Any, ...] = (tasks.data_of, self.large[path])
            else:
                row = (tasks.array_of, self.handle, path, self.small)
            plan = plan_each(f"value-{key}", row[0], [row[1:]])
            (handle,) = session.executor.submit(plan)
            graph = session.executor.chunks([(key, *where)], [handle])
            return Array(graph, key, tuple((size,) for size in shape), meta=meta)
        return Array({(key, *where): task}, key, tuple((s,) for s in shape), meta=meta)

    def _meta(self, path: Path, declared: Declared) -> Any:
        if declared.kind == "array" or declared.field is None:
            return np.empty((0,) * len(self.realm.shapes[path]), self._dtypes[path])
        sample = declared.field.numpy(declared.field.column([]))
        return np.empty((), sample.dtype)

    def _read(self, path: Path) -> xr.DataArray:
        """Wait for a value that is no array: a tuple, say."""
        session = self.session
        if session.retracing:
            if path in self.realm.growing:
                value = tasks.load_history(self.realm, self.folder, self.number).values[path]
            else:
                value = tasks.load_version(self.realm, self.folder, self.number).values[path]
        elif path in self.realm.growing:
            found = session.executor.gather(self.parts)
            value = tasks.history([getattr(one, "version", one) for one in found], path)
        else:
            plan = plan_each(
                f"read-{self.name}-{session.count}-{path}-{session.token}",
                tasks.value_of,
                [(path, self.small)],
            )
            (value,) = session.executor.gather(session.executor.submit(plan))
        name = str(path[-1])
        if not isinstance(value, tuple):
            whole = np.empty((), object)
            whole[()] = value
            return xr.DataArray(whole, name=name)
        return xr.DataArray(entries(value), dims=[f"{name}_entry"], name=name)

    def begin(self, env: Environment) -> None:
        """Write the first version down, and go on from there."""
        values, store = flatten(env), self.session.store
        self._coords = {
            path: {n: c for n, c in values[path].coords.items() if n in values[path].dims}
            for path in self.realm.shapes
        }
        self._dtypes = {path: values[path].dtype for path in self.realm.shapes}
        small = {path: value for path, value in values.items() if path not in self.realm.large}
        version = files.Version(0, -1, small)
        if store is not None:
            store.write_environment(self.name, "000000", files.encode(self.realm.tree, version))
        for path in self.realm.large:
            self._keep_array(path, values[path])
        if self.session.retracing:
            return
        if store is not None and store.shared:
            self._load(0)
            return
        plan = plan_each(f"start-{self.name}-{self.session.token}", _same, [(version,)])
        (self.small,) = self.session.executor.submit(plan)
        self.parts = [self.small] if self.realm.growing else []

    def _keep_array(self, path: Path, array: Any) -> None:
        """Write a large array into the run directory, and have it read from there."""
        if self.session.store is not None:
            data = files.encode(self.realm.tree, files.Version(0, -1, {path: array}))
            name = f"array-{self.number:06d}-{part_name(path)}"
            self._files[path] = self.session.store.write_environment(self.name, name, data)
        if not self.session.retracing:
            self.large[path] = self._root_array(path, array)

    def _load(self, number: int) -> None:
        """Go on from a version that is written."""
        session, folder = self.session, self.folder
        name = f"root-{self.name}-{number}-{session.count}-{session.token}"
        row = (self.handle, folder, number)
        (self.small,) = session.executor.submit(plan_each(name, tasks.load_version, [row]))
        if self.realm.growing:
            plan = plan_each(f"history-{name}", tasks.load_history, [row])
            self.parts = session.executor.submit(plan)

    def _root_array(self, path: Path, array: Any = None) -> Any:
        """Return the handle of a large array: as it was written, where workers see that."""
        session, file = self.session, self._files.get(path, "")
        if session.store is None or not session.store.shared:
            if array is None:
                array = tasks.load_array(self.realm, file)
            return session.executor.scatter(array)
        name = f"array-{self.name}-{part_name(path)}-{self.number}-{session.count}-{session.token}"
        plan = plan_each(name, tasks.load_array, [(self.handle, file)])
        return session.executor.submit(plan)[0]

    def checkpoint(self, folder: str) -> None:
        """Write what a version does not hold that is written already: arrays that may change."""
        executor, store = self.session.executor, self.session.store
        assert store is not None
        for path in sorted(self.realm.changing, key=str):
            file = f"{folder}/{part_name(path)}"
            row = (self.handle, path, self.large[path], file if store.shared else None)
            name = f"write-{self.name}-{part_name(path)}-{self.number}-{self.session.token}"
            (data,) = executor.gather(executor.submit(plan_each(name, tasks.write_array, [row])))
            if data is not None:
                files.write(data, File(file))

    def go_on(self, folder: str) -> None:
        """Go on from the newest version as it is written, and let go of what made it."""
        if self.session.store is not None and self.session.store.shared:
            self._load(self.number)
        else:
            version = tasks.load_version(self.realm, self.folder, self.number)
            self.small = self.session.executor.scatter(version)
            if self.realm.growing:
                whole = tasks.load_history(self.realm, self.folder, self.number)
                self.parts = [self.session.executor.scatter(whole)]
        for path in self.realm.changing:
            self._files[path] = f"{folder}/{part_name(path)}"
        for path in self.realm.large:
            if path in self.realm.changing or path not in self.large:
                self.large[path] = self._root_array(path)


def make_versions(session: Session, name: str, env: Environment) -> Versions:
    """Bring an environment into a session."""
    tree, values = tree_of(env), flatten(env)
    leaves = dict(tree.leaves())
    arrays = {p: v for p, v in values.items() if leaves[p].kind == "array"}
    large = tuple(p for p, v in arrays.items() if v.nbytes > LARGE)
    realm = Realm(
        name,
        session.seed,
        tree,
        large,
        frozenset(p for p in large if assigns(tree.at(p[:-1]).cls, str(p[-1]))),
        tuple(
            path
            for path, declared in leaves.items()
            if declared.reducer is not None
            and declared.reducer.name == "append"
            and not assigns(tree.at(path[:-1]).cls, str(path[-1]))
        ),
        {path: tuple(value.sizes.items()) for path, value in arrays.items()},
    )
    sealed = session.executor.seal(realm)
    plan = plan_each(f"realm-{session.token}-{name}", _same, [(sealed,)])
    (handle,) = session.executor.submit(plan)
    versions = Versions(session, name, realm, sealed, handle)
    versions.begin(env)
    return versions


def _same(value: Any) -> Any:
    return value


def _names_of(tree: Tree) -> frozenset[str] | None:
    """Return the names that the code of an environment mentions; None if nobody knows."""
    found: frozenset[str] = frozenset()
    for cls in tree.classes():
        names = names_used(cls)
        if names is None:
            return None
        found |= names
    return found


def _is_leaf(tree: Tree, path: Path) -> bool:
    return tree.cls.__fields__[str(path[0])].kind in ("value", "array")


def _is_array(declared: Declared) -> bool:
    """Whether a value is a number, a bool, a text or an array."""
    if declared.field is None:
        return True
    return declared.field.numpy(declared.field.column([])).dtype != object


def _is_single(value: Any) -> bool:
    return isinstance(value, np.generic | np.ndarray | xr.DataArray) and value.ndim == 0


__all__ = ["Made", "Versions", "Visit", "make_versions"]
