"""Scoring: the log-probabilities of every response under every constitution of its example.

`layouts` lays examples out as rows of tokens, in one of two ways with equal results; `score` runs a model over them.
"""
