"""What the bench wrote, read again: from any version and any machine, so that nothing in it is believed."""

from typing import Any

from .conforms import misfit
from .result import FORMAT, Result

NUMBERS = ("batch_size", "threads", "p50_ms", "p90_ms", "p99_ms", "throughput_per_s")


def misfit_of_result(content: Any) -> str:
    """Say what keeps a document from being a result of the bench of any version; empty if nothing does."""
    wrong = misfit(content, Result, may_lack=True)
    if wrong:
        return wrong
    if content.get("format") != FORMAT or not {"environment", "variants"} <= content.keys():
        return f"it is of another format than {FORMAT}"
    if not {"cpu", "versions"} <= content["environment"].keys():
        return "environment lacks cpu or versions"
    for variant in content["variants"]:
        if not {"name", "size_bytes", "bench"} <= variant.keys():
            return "a variant lacks name, size_bytes or bench"
        for entry in variant["bench"]:
            if not {*NUMBERS, "length", "energy"} <= entry.keys() or "kind" not in entry["energy"]:
                return f"an entry of {variant['name']!r} lacks keys"
            if low := next((key for key in NUMBERS if entry[key] <= 0), None):
                return f"{low} of {variant['name']!r} should be above 0, found {entry[low]!r}"
    return ""
