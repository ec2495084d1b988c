"""Targets in place of sparsities: how many units each width may keep for a latency, a size or a count."""
