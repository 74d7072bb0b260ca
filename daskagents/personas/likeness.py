"""How alike texts are, with no embedding: by the words they share, and the copies among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daskagents.personas.minhash import (
    Tokens,
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


def likeness(texts: Sequence[str]) -> Likeness:
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
    texts = list(texts)
    tokens = tokens_of(texts)
    return Likeness(
        len(texts),
        distinct_1=_distinct(tokens, 1),
        distinct_2=_distinct(tokens, 2),
        distinct_3=_distinct(tokens, 3),
        nearest=_nearest(texts),
        duplicates=1 - len(set(texts)) / len(texts) if texts else 0.0,
    )


def _distinct(tokens: Tokens, n: int) -> float:
    hashes = grams_of(tokens, n).hashes
    return len(np.unique(hashes)) / len(hashes) if len(hashes) else 0.0


def _nearest(texts: list[str]) -> float:
    """Return the mean similarity to the nearest: 1 for each that has a copy."""
    times: dict[str, int] = {}
    for text in texts:
        times[text] = times.get(text, 0) + 1
    single = [text for text, number in times.items() if number == 1]
    found = float(len(texts) - len(single))
    # copies are compared once: one stands for all
    tokens = tokens_of([*single, *(text for text, number in times.items() if number > 1)])
    worded = np.flatnonzero(tokens.lengths)
    if len(worded) > 1:
        shingles = shingles_of(tokens)
        renamed = np.zeros(len(tokens.lengths), np.int64)
        renamed[worded] = np.arange(len(worded))
        shingles = shingles._replace(owner=renamed[shingles.owner])
        other = nearest_of(signatures_of(shingles, len(worded)))
        mine = np.flatnonzero((other >= 0) & (worded < len(single)))
        found += float(jaccard(shingles, mine, other[mine]).sum())
    return found / len(texts) if texts else 0.0
