"""Processes that work together, and models divided among them."""
