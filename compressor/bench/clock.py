"""Time as meters see it; tests bring a clock of their own, on which nothing has to wait."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Clock(Protocol):
    """Whatever energy needs to know of time."""

    def now(self) -> float:
        """Seconds, monotonic."""

    def cpu_s(self) -> float:
        """Processor time of this program, all threads together."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def repeat(self, call: Callable[[], None], every_s: float) -> AbstractContextManager[None]:
        """Call a function about every so often, in the background, while the context is open."""


class HostClock:
    """The clock of this machine."""

    now = staticmethod(time.perf_counter)
    cpu_s = staticmethod(time.process_time)
    sleep = staticmethod(time.sleep)

    @contextmanager
    def repeat(self, call: Callable[[], None], every_s: float) -> Iterator[None]:
        """Call from a thread, at times drawn around the interval: a regular one could beat with the load."""
        stopped = threading.Event()

        def loop() -> None:
            while not stopped.wait(every_s * random.uniform(0.5, 1.5)):
                call()

        thread = threading.Thread(target=loop, name="meter", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


HOST_CLOCK = HostClock()
