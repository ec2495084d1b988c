"""End with the process that started this one, even when that is killed and can end nothing itself."""

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1  # from linux/prctl.h
_SECONDS_BETWEEN_LOOKS = 1.0  # where the system does not tell
_ORPHANED = 130


def end_with(parent: int) -> None:
    """Let this process be killed when its parent ends.

    Parameters
    ----------
    parent : int
        Process id of the parent, as it knows itself; it may be gone already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before we asked
        os._exit(_ORPHANED)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(_ORPHANED)
