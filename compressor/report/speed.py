"""What files are compared by, p50 or processor time where cores were shared; and whether two files differ."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compressor.bench import sharing
from compressor.bench.result import Entry, Variant, entries
from compressor.bench.student_t import quantile
from compressor.report import words

CONFIDENCE = 0.99  # of the interval in which the ratio of two files lies
MARK = "*"  # beside a p50 that says little
NOTE = (
    "Other programs shared the processor: every ratio of times is that of processor time, "
    f"and p50 is marked {MARK} because it depends on them."
)


@dataclass(frozen=True)
class Clock:
    """A time of one inference."""

    title: str
    is_wall: bool

    def ms(self, entry: Entry) -> float | None:
        """Give the time of one inference; None where an earlier version did not measure it."""
        return entry["p50_ms"] if self.is_wall else entry.get("cpu_ms")

    def blocks_ms(self, entry: Entry) -> Sequence[float]:
        """Give it block by block, in the order in which all files took turns."""
        return (entry.get("block_p50_ms") if self.is_wall else entry.get("block_cpu_ms")) or ()

    def change(self, before: Entry, after: Entry) -> str:
        """Say how much faster a file is; nothing where a time is unknown."""
        old_ms, new_ms = self.ms(before), self.ms(after)
        if not old_ms or not new_ms:
            return ""
        return words.SAME if self.is_alike(before, after) else words.times(old_ms, new_ms, "faster", "slower")

    def factor(self, before: Entry, after: Entry) -> float | None:
        """Give how many times faster a file is, 1 if it is about the same; None where a time is unknown."""
        old_ms, new_ms = self.ms(before), self.ms(after)
        if not old_ms or not new_ms:
            return None
        is_same = self.is_alike(before, after) or words.times(old_ms, new_ms, "", "") == words.SAME
        return 1.0 if is_same else old_ms / new_ms

    def is_alike(self, before: Entry, after: Entry) -> bool:
        """Tell whether the difference of two files lies within its own spread, or processor time denies it."""
        return _is_within_spread(self.blocks_ms(before), self.blocks_ms(after)) or (
            self.is_wall and _is_denied(before, after)
        )


WALL, PROCESSOR = Clock("p50", is_wall=True), Clock("processor time", is_wall=False)


def is_shared(variants: Iterable[Variant]) -> bool:
    """Tell whether other programs had the core while any file was timed on one thread."""
    return any(sharing.is_shared(entry, entry["threads"]) for _, entry in entries(variants))


def clock(variants: Iterable[Variant]) -> Clock:
    """Give the time by which all files of a report are compared."""
    return PROCESSOR if is_shared(variants) else WALL


def note(variants: Iterable[Variant]) -> str:
    """Say in a line that goes first that ratios are those of processor time; nothing where they are not."""
    return NOTE if is_shared(variants) else ""


def marked(p50: str) -> str:
    """Mark a p50 that says little, because other programs shared the core."""
    return f"{p50} {MARK}"


def load_change(before: Variant, after: Variant) -> str:
    """Say how much faster a file loads; two whose times overlap load alike."""
    old_ms, new_ms = before["load_ms"], after["load_ms"]
    if not old_ms or not new_ms:
        return ""
    return words.SAME if loads_alike(before, after) else words.times(old_ms, new_ms, "faster", "slower")


def loads_alike(before: Variant, after: Variant) -> bool:
    """Tell whether the times that two files took to load overlap."""
    old, new = before.get("load_range_ms"), after.get("load_range_ms")
    return old is not None and new is not None and old[0] <= new[1] and new[0] <= old[1]


def _is_within_spread(before_ms: Sequence[float], after_ms: Sequence[float]) -> bool:
    """Tell whether the interval of the mean ratio over blocks that took turns holds one."""
    if len(before_ms) != len(after_ms) or len(before_ms) < 2 or min(*before_ms, *after_ms) <= 0:
        return False
    logs = [math.log(old / new) for old, new in zip(before_ms, after_ms, strict=True)]
    half = quantile((1 + CONFIDENCE) / 2, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return abs(statistics.fmean(logs)) <= half


def _is_denied(before: Entry, after: Entry) -> bool:
    """Tell whether on one thread processor time, by which `compress gate` decides, goes the other way."""
    old_ms, new_ms = before.get("cpu_ms"), after.get("cpu_ms")
    if before["threads"] > 1 or not old_ms or not new_ms:
        return False
    return (before["p50_ms"] - after["p50_ms"]) * (old_ms - new_ms) < 0
