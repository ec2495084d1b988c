"""`compressor.training.context` under its former name."""

import sys
import warnings

from compressor.training import context

warnings.warn(
    "compressor.train is now compressor.training.context; the old name goes in the next version", DeprecationWarning, 2
)
sys.modules[__name__] = context
