"""`python -m compressor.cli`: the `compress` command."""

import sys

from compressor.cli import main

sys.exit(main())
