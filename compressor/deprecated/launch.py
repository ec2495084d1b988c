"""`compressor.measure.launch` under its former name."""

import sys
import warnings

from compressor.measure import launch

warnings.warn(
    "compressor.launch is now compressor.measure.launch; the old name goes in the next version", DeprecationWarning, 2
)
sys.modules[__name__] = launch
