"""Weights: where they come from, how they are checked, prepared and loaded."""
