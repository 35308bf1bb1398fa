"""The plan: what a run will take, before it is paid for, and what it took: jobs, tokens, hours, memory, disk, dollars.

`quantities` has the sizes that all rests on (`model_sizes`, `lengths`), `costs` turns them into what jobs take (with
`memory`), `rows` lists the jobs of each stage and iteration, `memory_check` refuses what cannot fit, `outcome` reads
what became of a row, `table` shows both.

Ground floor: no torch, no pandas. Formulas and sources: docs/plan.md.
"""
