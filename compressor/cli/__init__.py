"""The `compress` command."""

from compressor.cli.app import cli, main

__all__ = ["cli", "main"]
