"""Figures: pure functions from tables to matplotlib figures. Each is declared once, in `catalogue`."""
