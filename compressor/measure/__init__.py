"""Files measured: in a process of their own, on a board, or against a baseline."""
