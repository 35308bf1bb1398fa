"""Rank correlation of two values of the same thing: Spearman's, of weighted pairs."""

import numpy as np


def spearman(pairs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation (Spearman 1904) of (N, 2) pairs, each counted (B, N) times: (B,).

    Equal values have the mean of their ranks. NaN where all values of a side are equal, so that nothing is correlated.
    """
    first, second = (_ranks(pairs[:, side], weights) for side in (0, 1))  # (B, N) each
    total = weights.sum(axis=1, keepdims=True)
    first, second = (ranks - (weights * ranks).sum(axis=1, keepdims=True) / total for ranks in (first, second))
    own = (weights * first**2).sum(axis=1) * (weights * second**2).sum(axis=1)
    flat = own < 1e-9  # ranks are halves of whole numbers, so any difference of them is far above that
    return np.where(flat, np.nan, (weights * first * second).sum(axis=1) / np.sqrt(np.where(flat, 1.0, own)))


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B, N) mean ranks of (N,) values, each counted (B, N) times, as in the sample that repeats each so often."""
    levels, level = np.unique(values, return_inverse=True)
    counts = weights @ (level[:, None] == np.arange(len(levels)))  # (B, L) how many have each value
    ranks = counts.cumsum(axis=1) - (counts - 1) / 2  # ranks of n equal ones behind m lower: m + 1, ..., m + n
    return ranks[:, level]
