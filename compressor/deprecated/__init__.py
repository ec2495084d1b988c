"""Modules under their names of before 0.1: importable for one version, with a warning."""
