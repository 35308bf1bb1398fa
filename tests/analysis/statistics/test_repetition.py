"""Repeated n-grams, by hand and by a loop."""

import numpy as np
import pytest

from sami.analysis.statistics.repetition import is_degenerate, repeated_ngram_share

DRAWS = {"samples": 2000, "confidence": 0.95, "seed": 1}


def test_repeated_ngrams_by_hand():
    assert repeated_ngram_share("the cat sat on the mat", 3) == 0.0
    # Bigrams: a b, b a, a b, b a, a b: two are unique.
    assert repeated_ngram_share("A b a B a b", 2) == pytest.approx(3 / 5)
    assert repeated_ngram_share("so so so so so", 3) == pytest.approx(2 / 3)
    assert repeated_ngram_share("two words", 3) == 0.0
    assert repeated_ngram_share("", 3) == 0.0


def test_repeated_ngrams_agree_with_a_loop():
    random = np.random.default_rng(9)
    for _ in range(30):
        words = random.choice(["a", "b", "c"], size=25).tolist()
        seen, repeats = [], 0
        for i in range(23):
            repeats += words[i : i + 3] in seen
            seen.append(words[i : i + 3])
        assert repeated_ngram_share(" ".join(words), 3) == pytest.approx(repeats / 23)


def test_degenerate_means_more_than_the_limit():
    assert is_degenerate("so so so so so", 3, 0.5)
    assert not is_degenerate("so so so so so", 3, 2 / 3)
    assert not is_degenerate("A fluent sentence about a kettle.", 3, 0.0)
