"""Frames: payloads in a file, each with its length and a checksum, so that damage is found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from zlib import crc32

_HEAD = Struct("<II")
#: Largest payload that a length is believed to be of.
_LARGEST = 1 << 30


class Frame(NamedTuple):
    """One payload, and where its frame begins and ends."""

    start: int
    end: int
    payload: bytes


class Damage(NamedTuple):
    """Bytes that are no frame; `torn` where the file ends with them."""

    start: int
    end: int
    torn: bool


def frame(payload: bytes) -> bytes:
    """Return a payload as it stands in a file.

    Examples
    --------
    >>> read_frames(frame(b"one") + frame(b"two"))[0][1]
    Frame(start=11, end=22, payload=b'two')
    """
    return _HEAD.pack(len(payload), crc32(payload)) + payload


def read_frames(data: bytes) -> tuple[list[Frame], list[Damage]]:
    """Read all frames that are whole.

    Parameters
    ----------
    data
        A file, from where a frame begins.

    Returns
    -------
    frames, damages
        What could be read, and the bytes that could not; a torn end is the usual one of a file
        whose process was killed.

    Examples
    --------
    >>> read_frames(frame(b"one") + frame(b"two")[:-1])[1]
    [Damage(start=11, end=21, torn=True)]
    """
    frames, damages, at = list[Frame](), list[Damage](), 0
    while at < len(data):
        found = frame_at(data, at)
        if found is None:
            start, at = at, _next_frame(data, at + 1)
            damages.append(Damage(start, at, at == len(data)))
        else:
            frames.append(found)
            at = found.end
    return frames, damages


def skim_frames(data: bytes | mmap) -> Iterator[tuple[int, int]]:
    """Yield where frames begin and end, without a look at what is in them.

    Examples
    --------
    >>> list(skim_frames(frame(b"one") + frame(b"three")))
    [(0, 11), (11, 24)]
    """
    at = 0
    while at < len(data):
        length = _HEAD.unpack_from(data, at)[0] if at + _HEAD.size <= len(data) else 0
        end = at + _HEAD.size + length
        if 0 < length <= _LARGEST and end <= len(data):
            yield at, end
            at = end
        else:  # damaged, or torn
            at = _next_frame(data, at + 1)


def payload_at(data: bytes | mmap, at: int, size: int) -> bytes:
    """Return the first bytes of the payload of a frame, which need not be whole."""
    return data[at + _HEAD.size : at + _HEAD.size + size]


@contextmanager
def mapped(path: Path) -> Iterator[bytes | mmap]:
    """Give the bytes of a file, read as they are looked at."""
    with path.open("rb") as file:
        if not file.read(1):  # an empty file cannot be mapped
            yield b""
            return
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            yield data


def frame_at(data: bytes | mmap, at: int) -> Frame | None:
    """Return the frame that begins somewhere; None where none does."""
    if at + _HEAD.size > len(data):
        return None
    length, check = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + length
    # an empty payload would make a frame of any eight zero bytes
    if not 0 < length <= _LARGEST or end > len(data):
        return None
    payload = data[at + _HEAD.size : end]
    return Frame(at, end, payload) if crc32(payload) == check else None


def _next_frame(data: bytes | mmap, at: int) -> int:
    """Return where the next frame begins; the end where there is none."""
    while at < len(data) and frame_at(data, at) is None:
        at += 1
    return at
