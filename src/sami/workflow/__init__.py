"""The parts of the workflow that need no Snakemake: configuration, checks before the start, plan, Slurm."""
