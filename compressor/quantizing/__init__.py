"""What the stage and the command `quantize` do: judge, leave layers in float, choose."""
