"""What workers are asked to do for an environment."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as File
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from daskagents.environments import files
from daskagents.environments.advance import Realm, advance
from daskagents.environments.base import Path
from daskagents.environments.files import Version
from daskagents.environments.ledger import Parts, World, merge
from daskagents.errors import AdvanceError, NotStoredError
from daskagents.sealing import unseal_once

T = TypeVar("T")


@dataclass(frozen=True)
class Needs:
    """What is sent of a version besides its small values.

    Parameters
    ----------
    large
        Paths of large arrays, each a result of its own.
    parts
        How many versions there are whose new parts make the fields that only grow.
    """

    large: tuple[Path, ...] = ()
    parts: int = 0


@dataclass(frozen=True)
class Seen:
    """How a step sees an environment: what is sent, and whose own part each agent sees."""

    needs: Needs
    path: Path = ()
    by: str = ""


@dataclass(frozen=True)
class Grown:
    """A version that is made, and its large arrays that may have changed."""

    version: Version
    large: Mapping[Path, Any]
    piece: bytes | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        return self.version.nbytes + sum(int(a.nbytes) for a in self.large.values())


def realm_of(sealed: bytes | Realm) -> Realm:
    """Return what was sealed, read once in a process."""
    return sealed if isinstance(sealed, Realm) else unseal_once(sealed)


def world(sealed: bytes | Realm, seen: Seen, sent: Sequence[Any]) -> World:
    """Return what a step sees, from what was sent for it."""
    realm = realm_of(sealed)
    values = _values(realm, seen.needs, sent)
    return World(realm.tree, values, seen.path, seen.by)


def _values(realm: Realm, needs: Needs, sent: Sequence[Any]) -> dict[Path, Any]:
    """Return all values of a version that were sent: its small ones, arrays, and what grows."""
    newest = _version(sent[0])
    values = {path: v for path, v in newest.values.items() if path not in realm.growing}
    values |= dict(zip(needs.large, sent[1 : 1 + len(needs.large)], strict=True))
    if needs.parts:
        parts = [_version(one) for one in sent[1 + len(needs.large) :][: needs.parts]]
        values |= {path: history(parts, path) for path in realm.growing}
    return values


def _version(made: Version | Grown) -> Version:
    return made.version if isinstance(made, Grown) else made


def history(parts: Sequence[Version], path: Path) -> tuple[Any, ...]:
    """Return a field that only grows, from what is new in each version."""
    return tuple(itertools.chain.from_iterable(part.values.get(path, ()) for part in parts))


def written(bundle: Any) -> Parts:
    """Return what the agents of one block wrote."""
    parts: Parts = bundle.outcome.written
    return parts


def merged(sealed: bytes | Realm, *parts: Parts) -> Parts:
    """Merge what several blocks wrote, in their order."""
    return merge(realm_of(sealed).tree, parts)


def next_version(
    sealed: bytes | Realm,
    number: int,
    step: int,
    folder: str | None,
    needs: Needs,
    *sent: Any,
) -> Version | Grown:
    """Make the next version: merge what was written, let the environment advance, write it down.

    Parameters
    ----------
    sealed
        The environment.
    number, step
        Of the version, and of the step it is made after.
    folder
        Where versions are written: None nowhere, and empty where the client has to.
    needs
        What is sent of the version before.
    *sent
        The version before, its large arrays and parts that are needed; then what was written.
    """
    realm = realm_of(sealed)
    count = 1 + len(needs.large) + needs.parts
    values = dict.fromkeys(realm.growing, ()) | _values(realm, needs, sent[:count])
    made = advance(realm, number, values, merged(realm, *sent[count:]))
    return _made(realm, number, step, folder, values, made)


def set_values(
    sealed: bytes | Realm,
    number: int,
    step: int,
    folder: str | None,
    before: Version | Grown,
    names: tuple[str, ...],
    *given: Any,
) -> Version | Grown:
    """Make a version with some other values, which may have been computed in the meantime."""
    realm = realm_of(sealed)
    values = dict(_version(before).values) | dict.fromkeys(realm.growing, ())
    for name, value in zip(names, given, strict=True):
        declared = realm.tree.cls.__fields__[name]
        if declared.kind == "value" and isinstance(value, np.ndarray | np.generic):
            value = value.item()
        values[name,] = declared.coerce(realm.tree.cls.__name__, value)
    return _made(realm, number, step, folder, {}, values)


def _made(
    realm: Realm,
    number: int,
    step: int,
    folder: str | None,
    before: Mapping[Path, Any],
    values: Mapping[Path, Any],
) -> Version | Grown:
    """Return a version of these values, and write it down."""
    small, large = {}, {}
    for path, value in values.items():
        if path in realm.shapes and tuple(value.sizes.items()) != realm.shapes[path]:
            said = ".".join(map(str, path))
            raise AdvanceError(
                f"environment {realm.name!r}: {said} has become an array of {dict(value.sizes)} and"
                f" was one of {dict(realm.shapes[path])}; keep its shape"
            )
        if path in realm.large:
            if path in realm.changing:
                large[path] = value
        elif path in realm.growing:
            small[path] = value[len(before.get(path, ())) :]
        else:
            small[path] = value
    version = Version(number, step, small)
    piece = None
    if folder is not None:
        data = files.encode(realm.tree, version)
        if folder:
            files.write(data, files.path_of(folder, number))
        else:
            piece = data
    return Grown(version, large, piece) if large or piece is not None else version


def large_of(made: Grown, path: Path) -> Any:
    """Return one large array of a version."""
    return made.large[path]


def small_of(made: Grown) -> Version:
    """Return the small values of a version."""
    return made.version


def piece_of(made: Grown) -> bytes | None:
    """Return what the client is to write down of a version."""
    return made.piece


def load_version(sealed: bytes | Realm, folder: str, number: int) -> Version:
    """Read a version as a root to go on from."""
    return files.read(realm_of(sealed).tree, files.path_of(folder, number))


def load_history(sealed: bytes | Realm, folder: str, number: int) -> Version:
    """Read what fields that only grow hold in a version, from all versions before."""
    realm = realm_of(sealed)
    parts = [load_version(realm, folder, at) for at in range(number + 1)]
    return replace(parts[-1], values={path: history(parts, path) for path in realm.growing})


def write_array(sealed: bytes | Realm, path: Path, array: Any, file: str | None) -> bytes | None:
    """Write one large array; return it as bytes where there is no folder to write to."""
    data = files.encode(realm_of(sealed).tree, Version(0, -1, {path: array}))
    if file is None:
        return data
    files.write(data, File(file))
    return None


def load_array(sealed: bytes | Realm, file: str | bytes) -> Any:
    """Read one large array."""
    tree = realm_of(sealed).tree
    data = file if isinstance(file, bytes) else File(file).read_bytes()
    (array,) = files.decode(tree, data, str(file) if isinstance(file, str) else "").values.values()
    return array


def value_of(path: Path, sent: Version | Grown) -> Any:
    """Return one value of a version."""
    return _version(sent).values[path]


def array_of(sealed: bytes | Realm, path: Path, sent: Version | Grown) -> NDArray[Any]:
    """Return one value of a version as an array, for xarray."""
    declared, value = realm_of(sealed).tree.leaf(path), _version(sent).values[path]
    if declared.field is None:
        return np.asarray(value.values)
    values = declared.field.numpy(declared.field.column([value]))
    return np.asarray(value if values.dtype == object else values[0], values.dtype)


def stored_array(sealed: bytes | Realm, path: Path, folder: str, number: int) -> NDArray[Any]:
    """Return one value of a version that was written down, as an array."""
    return array_of(sealed, path, load_version(sealed, folder, number))


def lost() -> Any:
    """Say that a large array of a version of before is stored nowhere."""
    raise NotStoredError


def data_of(array: Any) -> NDArray[Any]:
    """Return the data of a large array."""
    return np.asarray(array.values)
