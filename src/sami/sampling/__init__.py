"""Sampling: responses of a policy under constitutions.

Samplers turn prompts into texts, behind one protocol (`sampler`), and `factory` opens the one that the settings name;
`responses` cleans texts and needs no torch. `local_writer` draws principles.
"""
