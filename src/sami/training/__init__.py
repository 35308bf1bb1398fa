"""Training: optimises a policy on the examples of one iteration."""
