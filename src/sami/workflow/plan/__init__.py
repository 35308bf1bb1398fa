"""What a run will take, before it is paid for, and what it took: jobs, tokens, hours, memory, disk, dollars.

`model_sizes` says what is known of a model's size, `lengths` how long texts are, `memory` what a job needs, `jobs` puts
them together to a row for each stage and iteration, `outcome` reads what became of a row, `table` shows both.

Ground floor: no torch, no pandas. Formulas and sources: docs/plan.md.
"""
