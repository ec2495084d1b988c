"""Training phases: their losses, how they resume, and the part of the run that a stage can use."""
