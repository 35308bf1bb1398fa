"""Sampling: responses of a policy under constitutions.

`transformers_sampler` turns prompts into texts; `responses` cleans and filters texts and needs no torch.
"""
