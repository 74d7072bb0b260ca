"""What a workflow read, as it is written down and handed back when the run goes on."""

from __future__ import annotations

import base64
import reprlib
import zlib
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from daskagents.errors import RunError

if TYPE_CHECKING:
    from daskagents.past import Past
    from daskagents.store import Store

#: Values of an array up to which it is written down whole; of a larger one, its digest is.
_LARGE = 1_000
#: Bytes up to which a larger array of bools is: who leaves is known again without computing it.
_MASK = 1 << 15
_PLAIN = (str, float, int, bool, type(None))


class Again:
    """Stands for a value of which only the digest was written down: it has to be read again."""


AGAIN = Again()


def describe(value: Any) -> dict[str, Any]:
    """Return a value as JSON has it: whole if it is small and plain, else its digest.

    Examples
    --------
    >>> describe(np.arange(3.0))
    {'dtype': 'float64', 'shape': [3], 'data': [0.0, 1.0, 2.0]}
    >>> describe("yes")
    {'value': 'yes'}
    >>> describe(np.zeros(1_000_000, bool))["bools"]
    [1000000]
    """
    if isinstance(value, np.ndarray | np.generic):
        text = value.dtype.kind in "TU"
        if value.size <= _LARGE and (text or value.dtype.kind in "fiub"):
            shape = None if isinstance(value, np.generic) else list(value.shape)
            dtype = "text" if text else str(value.dtype)
            return {"dtype": dtype, "shape": shape, "data": np.ravel(value).tolist()}
        if value.dtype == bool:
            packed = zlib.compress(np.packbits(np.asarray(value)).tobytes())
            if len(packed) <= _MASK:
                return {"bools": list(value.shape), "data": base64.b64encode(packed).decode()}
        return {"digest": digest_of(np.asarray(value))}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        inside = {key: describe(inner) for key, inner in value.items()}
        if not any("digest" in inner for inner in inside.values()):
            return {"dict": inside}
    if isinstance(value, _PLAIN):
        return {"value": value}
    return {"digest": ""}  # how it shows itself need not be what it is


def handed_back(said: dict[str, Any]) -> Any:
    """Return the value that `describe` was given; `AGAIN` where that was too large.

    Examples
    --------
    >>> handed_back(describe(np.arange(3.0)))
    array([0., 1., 2.])
    """
    if "digest" in said:
        return AGAIN
    if "bools" in said:
        bits = zlib.decompress(base64.b64decode(said["data"]))
        count = int(np.prod(said["bools"]))
        found = np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(bool)
        return found.reshape(said["bools"])
    if "dict" in said:
        return {key: handed_back(inner) for key, inner in said["dict"].items()}
    if "value" in said:
        return said["value"]
    dtype: Any = np.dtypes.StringDType() if said["dtype"] == "text" else np.dtype(said["dtype"])
    data = np.array(said["data"], dtype)
    return data[0] if said["shape"] is None else data.reshape(said["shape"])


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Whether two descriptions are of one value; NaN is itself."""
    return repr(one) == repr(two)


class Reads:
    """Notes in order what a workflow reads, and hands back what it had read before.

    Parameters
    ----------
    store
        Where it is noted; None keeps nothing.
    past
        What was read before, of a run that goes on.
    """

    def __init__(self, store: Store | None, past: Past | None) -> None:
        self._store, self._past = store, past
        self.count = 0

    def note(self, value: Any) -> None:
        """Write down a value before it is handed over.

        Raises
        ------
        RunError
            If the run has read another one here before.
        """
        number, said = self.count, describe(value)
        self.count += 1
        if self._past is not None and number in self._past.reads:
            self._check(number, said)
        elif self._store is not None:
            self._store.note("read", number=number, said=said)

    def _check(self, number: int, said: dict[str, Any]) -> None:
        assert self._past is not None
        known = self._past.reads[number]
        if self._past.may_differ:
            return
        if not same(known, said) and "" not in (known.get("digest"), said.get("digest")):
            raise RunError(
                f"value {number} that the workflow reads was {_shown(known)} before and is"
                f" {_shown(said)} now; something in the run does not repeat: a clock, random, or a"
                " program that has changed"
            )

    def hand_back(self) -> Any:
        """Return the next value that was read before; `AGAIN` where it is to be read again."""
        assert self._past is not None
        said = self._past.reads.get(self.count)
        if said is None:
            raise RunError(
                f"the workflow reads {self.count + 1} values where {self.count} were read before;"
                " it goes another way than it did"
            )
        found = handed_back(said)
        if found is not AGAIN:
            self.count += 1
        return found


def _shown(said: dict[str, Any]) -> str:
    found = handed_back(said)
    if found is AGAIN:
        return "another large one"
    return reprlib.repr(found.item() if isinstance(found, np.generic) else found)


def digest_of(value: NDArray[Any]) -> str:
    """Return a digest of the values of an array."""
    plain = value.dtype.kind in "fiub"
    data = np.ascontiguousarray(value).data if plain else repr(value.tolist()).encode()
    return blake2b(data, digest_size=16).hexdigest()
