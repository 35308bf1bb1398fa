"""Scoring: the log-probabilities of every response under every prompt of its example.

`trees` and `sequences` lay examples out as rows of tokens (`layout`), in three ways with equal results; `scorer` runs a
model over them; `passes` covers many examples within a budget of tokens.
"""
