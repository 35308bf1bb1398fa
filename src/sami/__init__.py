"""Self-Supervised Alignment with Mutual Information (SAMI, arXiv 2404.14313).

Modules in this folder form the ground floor and import no torch: errors, records, settings, principles, prompts,
queries, statistics, plotting, chat, completions, refusals. `models`, `scoring`, `objective`, `training` and `sampling`
work on tensors. `stages` holds one command per workflow rule. Nothing here imports Snakemake.
"""

__version__ = "0.1.0"
