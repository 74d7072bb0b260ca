"""How alike texts are, with no embedding: by the words they share, and the copies among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daskagents.personas.minhash import (
    Tokens,
    distinct,
    grams_of,
    jaccard,
    nearest_of,
    shingles_of,
    signatures_of,
    tokens_of,
)


@dataclass(frozen=True)
class Likeness:
    """How alike texts are.

    Parameters
    ----------
    texts
        How many.
    distinct_1, distinct_2, distinct_3
        Of all words, pairs and triples of words that follow each other in a text, the share that
        differ: 1 if none comes twice. It falls with the number of texts, so compare like with
        like. 0 if there are none.
    nearest
        How similar a text is to the one that is most like it, on average: of the triples of words
        that one of the two has, the share that both have. Among very many texts the most similar
        is not always found, so it may be a little low.
    duplicates
        The share of the texts that are exact copies of another before them.
    """

    texts: int
    distinct_1: float
    distinct_2: float
    distinct_3: float
    nearest: float
    duplicates: float

    def __str__(self) -> str:
        return (
            f"{self.texts:,} texts: {self.duplicates:.1%} are copies, similarity to the nearest"
            f" {self.nearest:.2f}, distinct 1-, 2-, 3-grams {self.distinct_1:.3f},"
            f" {self.distinct_2:.3f}, {self.distinct_3:.3f}"
        )


def likeness(texts: Iterable[str]) -> Likeness:
    """Measure how alike texts are.

    Words are compared whatever their case; of scripts without spaces each character is a word.

    Parameters
    ----------
    texts
        The texts, such as the backgrounds of people.

    Examples
    --------
    >>> print(likeness(["Ann farms the land of her family.", "Bob farms the land of his family."]))
    2 texts: 0.0% are copies, similarity to the nearest 0.25, distinct 1-, 2-, 3-grams 0.643, \
0.750, 0.800
    >>> likeness(["A farmer.", "A farmer."]).duplicates
    0.5
    """
    times = Counter(texts)
    copies = np.fromiter(times.values(), np.int64, len(times))
    count = int(copies.sum())
    # copies are looked at once: one stands for all
    tokens = tokens_of(list(times))
    return Likeness(
        count,
        distinct_1=_distinct(tokens, copies, 1),
        distinct_2=_distinct(tokens, copies, 2),
        distinct_3=_distinct(tokens, copies, 3),
        nearest=_nearest(tokens, copies),
        duplicates=1 - len(times) / count if count else 0.0,
    )


def _distinct(tokens: Tokens, copies: NDArray[np.int64], n: int) -> float:
    """Return the share of n-grams that differ."""
    grams = grams_of(tokens, n)
    written = int(copies[grams.owner].sum())
    return len(distinct(grams.hashes)) / written if written else 0.0


def _nearest(tokens: Tokens, copies: NDArray[np.int64]) -> float:
    """Return the mean similarity to the nearest: 1 for each that has a copy."""
    alike = (copies > 1).astype(float)
    worded = np.flatnonzero(tokens.lengths)
    if len(worded) > 1:
        shingles = shingles_of(tokens)
        renamed = np.cumsum(tokens.lengths > 0) - 1
        shingles = shingles._replace(owner=renamed[shingles.owner])
        other = nearest_of(signatures_of(shingles, len(worded)))
        mine = np.flatnonzero((other >= 0) & (copies[worded] == 1))
        alike[worded[mine]] = jaccard(shingles, mine, other[mine])
    return float((alike * copies).sum() / copies.sum()) if len(copies) else 0.0
