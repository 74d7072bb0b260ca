"""How alike texts are: estimates against what is exact, and texts of all kinds."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskagents.personas import minhash
from daskagents.personas.likeness import likeness

#: Texts of few words, so that many share some; and of any characters at all.
FEW = st.lists(st.sampled_from("ab c dé 数 Ä 34 x. ☃".split()), max_size=30).map(" ".join)
ANY = st.one_of(FEW, st.text(max_size=60))


def exact(one: str, other: str) -> float:
    """Return the similarity of two texts, by sets."""
    sets = []
    for text in (one, other):
        words = minhash._TOKEN.findall(text.casefold())
        n = min(3, len(words))
        sets.append({tuple(words[i : i + n]) for i in range(len(words) - n + 1)} if n else set())
    union = sets[0] | sets[1]
    return len(sets[0] & sets[1]) / len(union) if union else 0.0


@settings(max_examples=60)
@given(st.lists(ANY, min_size=2, max_size=8))
def test_exact_similarity_is_that_of_sets(texts: list[str]) -> None:
    shingles = minhash.shingles_of(minhash.tokens_of(texts))
    pairs = np.array([(i, j) for i in range(len(texts)) for j in range(i)])
    found = minhash.jaccard(shingles, pairs[:, 0], pairs[:, 1])
    assert found.tolist() == pytest.approx([exact(texts[i], texts[j]) for i, j in pairs])


@settings(max_examples=40)
@given(shared=st.integers(0, 80), own=st.integers(0, 80), seed=st.integers(0, 2**32))
def test_signatures_estimate_the_similarity(shared: int, own: int, seed: int) -> None:
    draw = random.Random(seed)
    common, one, other = (
        " ".join(f"w{draw.randrange(10**6)}" for _ in range(n)) for n in (shared + 3, own, own)
    )
    texts = [f"{common} {one}", f"{common} {other}"]
    shingles = minhash.shingles_of(minhash.tokens_of(texts))
    signatures = minhash.signatures_of(shingles, 2)
    estimate = minhash.agreement(signatures, np.array([0]), np.array([1]))[0]
    # five standard errors of 128 draws at the most
    assert abs(estimate - exact(*texts)) < 5 * 0.5 / np.sqrt(minhash.PLACES)


@settings(max_examples=60)
@given(st.lists(ANY, max_size=8))
def test_all_texts_have_a_likeness(texts: list[str]) -> None:
    found = likeness(texts)
    assert found.texts == len(texts)
    for name in ("distinct_1", "distinct_2", "distinct_3", "nearest", "duplicates"):
        assert 0 <= getattr(found, name) <= 1
    assert "\n" not in str(found)
    assert likeness(texts) == found
    if texts:
        assert found.duplicates == pytest.approx(1 - len(set(texts)) / len(texts))


def test_none_one_and_empty_texts() -> None:
    assert likeness([]).nearest == likeness([]).distinct_1 == 0
    one = likeness(["A farmer of 34 years."])
    assert (one.distinct_1, one.nearest, one.duplicates) == (1, 0, 0)
    empty = likeness(["", ""])
    assert (empty.distinct_1, empty.nearest, empty.duplicates) == (0, 1, 0.5)
    assert likeness(["", "A farmer."]).nearest == 0


def test_case_and_scripts() -> None:
    assert likeness(["Ann farms LAND.", "ann farms land"]).nearest == 1
    assert likeness(["三十四岁的农民", "三十四岁的医生"]).nearest == pytest.approx(3 / 7)
    assert likeness(["ab", "cd"]).nearest == 0


def test_copies_among_others() -> None:
    texts = ["Ann farms the land."] * 3 + ["Bob sells the cars."]
    found = likeness(texts)
    assert found.duplicates == 0.5
    assert found.nearest == 0.75  # the three have copies, the fourth is like nobody


def test_many_texts_find_their_nearest_in_buckets() -> None:
    draw = random.Random(1)
    texts = [" ".join(f"w{draw.randrange(3_000)}" for _ in range(30)) for _ in range(2_400)]
    for at in range(1, len(texts), 4):  # four words of the one before are others
        words = texts[at - 1].split()
        words[3:7] = ["so", "it", "may", "be"]
        texts[at] = " ".join(words)
    shingles = minhash.shingles_of(minhash.tokens_of(texts))
    found = minhash.nearest_of(minhash.signatures_of(shingles, len(texts)))
    copies = np.arange(1, len(texts), 4)
    assert (found[copies] == copies - 1).mean() > 0.99
    assert (found[copies - 1] == copies).mean() > 0.99
    near = likeness(texts)
    assert 0.3 < near.nearest < 0.4  # half of the texts have one that shares 22 of 34 triples


def test_the_same_in_each_process() -> None:
    assert minhash.tokens_of(["farmer"]).hashes[0] == 4_834_148_064_635_088_320
