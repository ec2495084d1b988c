"""Widths of any network, found by tracing one forward pass."""
