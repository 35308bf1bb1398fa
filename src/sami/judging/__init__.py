"""Judges: which of two responses follows a constitution better."""
