"""MinHash: texts as signatures, whose agreement tells how many n-grams two texts share."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: Texts, and for each another one.
Pairs: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]

#: Places of a signature: the standard error of an estimate is at most 0.5 / sqrt(128) = 0.044.
PLACES: Final = 128
#: Places that make a bucket: texts that share a tenth of their n-grams meet in one of the 64
#: buckets every second time, those that share a fifth nearly always.
_ROWS: Final = 2
#: How many that follow in a bucket a text is compared with.
_NEAR: Final = 2
#: Up to so many texts all pairs are compared.
_ALL_PAIRS: Final = 2_000
#: Pairs that are compared exactly at a time, and bits of a hash that are left beside their number.
_PAIRS: Final = 1 << 13
_BITS: Final = np.uint64(64 - 13)
#: n-grams that are hashed at a time, so that they stay in the cache.
_CHUNK: Final = 1 << 15

# A word; or one character of the scripts that leave no space between words.
_TOKEN = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
    r"|[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)


class Tokens(NamedTuple):
    """The words of many texts, end to end.

    Parameters
    ----------
    hashes
        64 bits for each word, the same for the same one, whatever its case.
    owner
        The text that it is of.
    lengths
        Words of each text.
    """

    hashes: NDArray[np.uint64]
    owner: NDArray[np.int64]
    lengths: NDArray[np.int64]


def tokens_of(texts: Sequence[str]) -> Tokens:
    """Split texts into words.

    Examples
    --------
    >>> tokens_of(["She is 34.", "", "三十四岁"]).lengths
    array([3, 0, 4])
    """
    known: defaultdict[str, int] = defaultdict()
    known.default_factory = known.__len__  # a new word gets the next number
    found: list[int] = []
    lengths = np.zeros(len(texts), np.int64)
    for at, text in enumerate(texts):
        words = _TOKEN.findall(text.casefold())
        lengths[at] = len(words)
        found += map(known.__getitem__, words)
    # Python's own hash of a text is another in each process
    digests = b"".join(
        blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest() for word in known
    )
    of_words = np.frombuffer(digests, "<u8").astype(np.uint64)
    return Tokens(
        of_words[np.array(found, np.int64)], np.repeat(np.arange(len(texts)), lengths), lengths
    )


def distinct(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return sorted values, each once; NumPy's `unique` takes 40 times as long for hashes."""
    ordered = np.sort(values)
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    found: NDArray[np.uint64] = ordered[first]
    return found


class Grams(NamedTuple):
    """The n-grams of many texts, in order of the texts: a hash of each, and whose it is."""

    hashes: NDArray[np.uint64]
    owner: NDArray[np.int64]


def grams_of(tokens: Tokens, n: int) -> Grams:
    """Return all runs of `n` words within one text.

    Examples
    --------
    >>> grams_of(tokens_of(["one two three", "one two", "one"]), 2).owner
    array([0, 0, 1])
    """
    count = len(tokens.hashes) - n + 1
    if count <= 0:
        return Grams(np.zeros(0, np.uint64), np.zeros(0, np.int64))
    within = tokens.owner[:count] == tokens.owner[n - 1 :]
    hashes = tokens.hashes[:count].copy()
    for place in range(1, n):
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes += tokens.hashes[place : place + count]
    return Grams(hashes[within], tokens.owner[:count][within])


def shingles_of(tokens: Tokens, n: int = 3) -> Grams:
    """Return what texts are compared by: the n-grams of each; one that has fewer words as it is."""
    parts = [grams_of(tokens, n)]
    if not len(tokens.lengths) or tokens.lengths.min() >= n:
        return parts[0]
    for fewer in range(1, n):
        short = grams_of(tokens, fewer)
        whole = tokens.lengths[short.owner] == fewer
        parts.append(Grams(short.hashes[whole], short.owner[whole]))
    owner = np.concatenate([part.owner for part in parts])
    order = np.argsort(owner, kind="stable")
    return Grams(np.concatenate([part.hashes for part in parts])[order], owner[order])


def signatures_of(shingles: Grams, count: int) -> NDArray[np.uint16]:
    """Return the signature of each text: of all its shingles the least, by each of many hashes.

    Parameters
    ----------
    shingles
        Of texts that have at least one each.
    count
        How many texts.

    Returns
    -------
    ndarray
        Shape (count, PLACES). Two texts agree in a place with the chance of their Jaccard
        similarity (the shingles that both have, of all that one has).
    """
    found = np.empty((count, PLACES), np.uint16)
    if not count:
        return found
    draw = np.random.Generator(np.random.Philox(7))
    factors = draw.integers(0, 1 << 63, PLACES, np.uint64) * np.uint64(2) + np.uint64(1)
    starts = np.searchsorted(shingles.owner, np.arange(count + 1))
    first = 0
    while first < count:
        last = int(np.searchsorted(starts, starts[first] + _CHUNK, "right")) - 1
        last = min(max(last, first + 1), count)
        hashes = shingles.hashes[starts[first] : starts[last]]
        hashes = hashes ^ (hashes >> np.uint64(31))
        cuts = starts[first:last] - starts[first]
        for place, factor in enumerate(factors):
            mixed = hashes * factor
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
            mixed >>= np.uint64(32)
            # of the least, the low bits: the high ones are mostly zero
            found[first:last, place] = np.minimum.reduceat(mixed, cuts).astype(np.uint16)
        first = last
    return found


def agreement(
    signatures: NDArray[np.uint16], one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Estimate the similarity of pairs of texts by where their signatures agree."""
    found: NDArray[np.float64] = (signatures[one] == signatures[other]).mean(axis=1)
    return found


def nearest_of(signatures: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Return for each text the one that is most like it, as far as signatures tell; -1: none is.

    Of up to 2,000 texts all pairs are looked at; of more those that meet in a bucket.
    """
    count = len(signatures)
    best, which = np.zeros(count), np.full(count, -1)
    pairs = _all_pairs if count <= _ALL_PAIRS else _in_buckets
    for one, other in pairs(signatures):
        alike = agreement(signatures, one, other)
        for mine, others in ((one, other), (other, one)):
            better = alike > best[mine]
            best[mine[better]], which[mine[better]] = alike[better], others[better]
    return which


def _all_pairs(signatures: NDArray[np.uint16]) -> Iterator[Pairs]:
    """Yield all pairs, each text at most once on either side of an entry."""
    rows = np.arange(len(signatures))
    for shift in range(1, len(rows)):
        yield rows[:-shift], rows[shift:]


def _in_buckets(signatures: NDArray[np.uint16]) -> Iterator[Pairs]:
    """Yield pairs that meet in a bucket: they are alike in some places next to each other.

    Within a bucket they are sorted by the places that follow, so that neighbours are the most
    alike, and a bucket that holds very many costs no more than others.
    """
    for band in range(0, PLACES, _ROWS):
        places = np.arange(band, band + 4) % PLACES
        key = np.zeros(len(signatures), np.uint64)
        for place in places:
            key = (key << np.uint64(16)) | signatures[:, place]
        order = np.argsort(key, kind="stable")
        bucket = key[order] >> np.uint64(16 * (4 - _ROWS))
        for shift in range(1, _NEAR + 1):
            meet = bucket[:-shift] == bucket[shift:]
            yield order[:-shift][meet], order[shift:][meet]


def jaccard(
    shingles: Grams, one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the exact similarity of pairs of texts: the shingles that both have, of all.

    Examples
    --------
    >>> shingles = shingles_of(tokens_of(["a b c d", "a b c e", "f"]))
    >>> jaccard(shingles, np.array([0, 0]), np.array([1, 2]))
    array([0.33333333, 0.        ])
    """
    texts = int(max(one.max(initial=0), other.max(initial=0))) + 1
    starts = np.searchsorted(shingles.owner, np.arange(texts + 1))
    found = np.zeros(len(one))
    for first in range(0, len(one), _PAIRS):
        part = slice(first, first + _PAIRS)
        mine, others = (_of_pairs(shingles.hashes, starts, side[part]) for side in (one, other))
        count = len(one[part])
        all_ = np.sort(np.concatenate([mine, others]))
        twice = all_[1:][all_[1:] == all_[:-1]]
        both, sizes = (
            np.bincount((keys >> _BITS).astype(np.int64), minlength=count) for keys in (twice, all_)
        )
        found[part] = both / np.maximum(sizes - both, 1)
    return found


def _of_pairs(
    hashes: NDArray[np.uint64], starts: NDArray[np.int64], side: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Return the shingles of one side of each pair, each once: the pair's number and a hash."""
    sizes = starts[side + 1] - starts[side]
    pair = np.repeat(np.arange(len(side), dtype=np.uint64), sizes)
    within = np.arange(len(pair)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    keys = (pair << _BITS) | (hashes[np.repeat(starts[side], sizes) + within] >> np.uint64(13))
    return distinct(keys)
