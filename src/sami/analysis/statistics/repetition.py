"""Degeneration: how far a text repeats itself."""


def repeated_ngram_share(text: str, n: int) -> float:
    """Share of the word n-grams of a text that have occurred before in it, words in lower case.

    This is seq-rep-n of Welleck et al. 2020 (arXiv 1908.04319), 1 - unique / all. 0.0 for fewer than n words.
    """
    words = text.lower().split()
    ngrams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return (len(ngrams) - len(set(ngrams))) / len(ngrams) if ngrams else 0.0


def is_degenerate(text: str, ngram: int, max_repeated: float) -> bool:
    """True where more than `max_repeated` of the word n-grams of a text are repeats."""
    return repeated_ngram_share(text, ngram) > max_repeated
