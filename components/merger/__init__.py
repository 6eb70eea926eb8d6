"""Merger: several networks become one."""
