"""Parts of `benchmarks/gpu.py`, each a module with `cases`: what is checked or timed on the device that there is."""
