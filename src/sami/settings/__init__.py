"""Checked settings, a module a section; imports nothing, so that whoever uses one section depends on it alone."""
