"""Memory that was freed, given back to the system."""

import ctypes


def give_back() -> None:
    """Give freed memory back, which glibc would keep for later: called between stages, it takes no time that matters.

    Without it, what a stage leaves between small objects adds to the peak of the next one. Other C libraries have
    nothing of the kind.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
