"""What goes from one process to another: values with the classes of the user's program."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from io import BytesIO
from typing import Any

import cloudpickle

from daskagents.block import Charter


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
    """Pickles classes of the user's program, also those that msgspec has looked at."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and "__msgspec_cache__" in vars(obj):
            del obj.__msgspec_cache__  # type: ignore[attr-defined]  # made anew when it is needed
        return super().reducer_override(obj)


def seal(value: Any) -> bytes:
    """Return a value as bytes for the wire, the classes of the user's program included."""
    buffer = BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


def unseal(blob: bytes) -> Any:
    """Return the value that `seal` was given."""
    return cloudpickle.loads(blob)


_kept: OrderedDict[bytes, Any] = OrderedDict()


def unseal_once(blob: bytes) -> Any:
    """Return the value that `seal` was given, read once per process: the same object each time."""
    digest = blake2b(blob, digest_size=16).digest()
    if digest not in _kept:
        _kept[digest] = cloudpickle.loads(blob)
        while len(_kept) > 64:
            _kept.popitem(last=False)
    return _kept[digest]


def charter_of(blob: bytes | Charter) -> Charter:
    """Return the charter that was sent as bytes, read once per process."""
    if isinstance(blob, Charter):
        return blob
    charter: Charter = unseal_once(blob)
    return charter
