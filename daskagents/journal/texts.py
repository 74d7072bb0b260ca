"""Texts of requests, each written once by a process however many requests have it."""

from __future__ import annotations

import os
import threading
import uuid
import zlib
from collections import OrderedDict
from collections.abc import Collection, Mapping
from hashlib import blake2b
from pathlib import Path

from daskagents.journal.frames import frame, frame_at, mapped, payload_at, read_frames, skim_frames

#: Texts shorter than this stand in the entries themselves.
SHORT = 40
#: Texts that a process knows to be written; of older ones it writes another copy.
_KNOWN = 100_000
_SIZE = 16
_PLAIN, _ZLIB = b"\x00", b"\x01"
#: What a reference begins with; a text that begins so is always written as a long one.
_MARK = "\x00"


class Texts:
    """Writes texts of one run, as one process; a text is referred to by its digest.

    Parameters
    ----------
    folder
        Of the journal.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "texts" / uuid.uuid4().hex[:12]
        self._known: OrderedDict[str, str] = OrderedDict()
        self._fd = -1
        self._lock = threading.Lock()

    @property
    def fd(self) -> int:
        """The file's descriptor; -1 as long as there is none."""
        return self._fd

    def refer(self, text: str) -> str:
        """Return what stands for a text in an entry; a long one is written down before."""
        if len(text) < SHORT and text[:1] != _MARK:
            return text
        known = self._known.get(text)
        if known is None:
            with self._lock:
                known = self._write(text)
        return known

    def _write(self, text: str) -> str:
        data = text.encode("utf-8", "surrogatepass")
        digest = blake2b(data, digest_size=_SIZE).digest()
        packed = zlib.compress(data, 1)
        kept = _ZLIB + packed if len(packed) < len(data) else _PLAIN + data
        if self._fd < 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        write_all(self._fd, frame(digest + kept))
        reference = self._known[text] = _MARK + digest.hex()
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return reference

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read_texts(folder: Path) -> dict[str, str]:
    """Read all long texts of a journal, by reference; those that are damaged are left out."""
    found: dict[str, str] = {}
    for path in sorted((folder / "texts").glob("*")):
        found |= map(text_in, (each.payload for each in read_frames(path.read_bytes())[0]))
    return found


def text_in(payload: bytes) -> tuple[str, str]:
    """Return the reference of a long text, and the text, as they stand in a frame."""
    return _MARK + payload[:_SIZE].hex(), _unpack(payload)


def pick_texts(folder: Path, wanted: Collection[str]) -> dict[str, str]:
    """Read some long texts of a journal, by reference; those that are damaged are left out."""
    digests = {bytes.fromhex(ref.removeprefix(_MARK)) for ref in wanted if ref.startswith(_MARK)}
    found: dict[str, str] = {}
    for path in sorted((folder / "texts").glob("*")) if digests else ():
        with mapped(path) as data:
            for start, _ in skim_frames(data):
                digest = payload_at(data, start, _SIZE)
                whole = frame_at(data, start) if digest in digests else None
                if whole is not None:
                    found[_MARK + digest.hex()] = _unpack(whole.payload)
                    digests.discard(digest)
        if not digests:
            break
    return found


def _unpack(payload: bytes) -> str:
    """Return the text that stands in a frame, behind its digest."""
    how, data = payload[_SIZE : _SIZE + 1], payload[_SIZE + 1 :]
    data = zlib.decompress(data) if how == _ZLIB else data
    return data.decode("utf-8", "surrogatepass")


def text_of(reference: str, texts: Mapping[str, str]) -> str:
    """Return the text that an entry has or refers to; one that is lost says so."""
    if not reference.startswith(_MARK):
        return reference
    return texts.get(reference, "(this text is lost)")


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes at the end of a file; a disk that is full may take a part of them."""
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, data[done:])
