"""Energy meters, one family of sensors per file."""
