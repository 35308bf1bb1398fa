"""Numbers and their uncertainty, a module a subject: numpy and scipy only, no files, iterations or policies.

Everything that belongs to one query (its responses, its constitutions, its verdicts) depends on that query, so
intervals and p-values are over queries, not responses. What each number means is told in docs/statistics.md.
"""
