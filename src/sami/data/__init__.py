"""Queries, principles, constitutions and prompts, and the formats that they and responses come in."""
