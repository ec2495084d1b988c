"""Training phases: what they learn from, how they resume, and what a stage sees of the run."""
