"""`compressor.model.checkpoint` under its former name."""

import sys
import warnings

from compressor.model import checkpoint

warnings.warn(
    "compressor.checkpoint is now compressor.model.checkpoint; the old name goes in the next version",
    DeprecationWarning,
    2,
)
sys.modules[__name__] = checkpoint
