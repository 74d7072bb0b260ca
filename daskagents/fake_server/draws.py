"""Random numbers that follow from the seed, the request and what they are for alone."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from hashlib import blake2b

#: Unpacks the 8 numbers of one hash.
_WORDS = struct.Struct("<8Q")


def digest(seed: int, body: bytes) -> bytes:
    """Return what stands for a request: 16 bytes of its body and the seed."""
    return blake2b(body, key=struct.pack("<Q", seed % 2**64), digest_size=16).digest()


def draws(request: bytes, purpose: bytes, number: int = 0) -> Iterator[float]:
    """Yield numbers in [0, 1).

    Parameters
    ----------
    request
        The digest of a request.
    purpose
        What they are for, at most 16 bytes.
    number
        The how many-th time.
    """
    for count in itertools.count():
        salt = struct.pack("<QQ", number, count)
        for word in _WORDS.unpack(blake2b(request, person=purpose, salt=salt).digest()):
            yield (word >> 11) / 2**53
