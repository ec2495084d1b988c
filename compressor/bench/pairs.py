"""Two files timed against each other in blocks, each on a fresh pair of onnxruntime sessions."""

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from . import sessions
from .decision import Block
from .latency import no_garbage_collection
from .shape import Shape

N_WARM_UPS = 3
N_PAIRS = 12
SHORTEST_S = 1e-9  # a clock may stand still over a tiny network

ROLES = ("new", "baseline")

Run = Callable[[], object]
Feeds = Mapping[str, dict[str, np.ndarray]]  # what each file is fed with, by its role


def fresh(
    shapes: Sequence[Shape],
    files: Mapping[str, Path],
    inputs: Mapping[Shape, Feeds],
    rng: random.Random,
) -> dict[Shape, Block]:
    """Open both files again and take a block at each shape.

    Where a session's memory happens to lie changes its speed by about a percent for as long as it lives, so no
    number of runs on one pair of sessions says how two files compare: only new sessions do. Which file is opened
    first, and which shape comes first, is drawn each time.
    """
    blocks = {}
    for n_threads in dict.fromkeys(shape.threads for shape in shapes):
        opened = {role: sessions.open_session(files[role], n_threads) for role in rng.sample(ROLES, len(ROLES))}
        cpu_s = time.thread_time if n_threads == 1 else time.process_time  # a pool's threads work for us too
        mine = [shape for shape in shapes if shape.threads == n_threads]
        for shape in rng.sample(mine, len(mine)):
            runs = {role: partial(session.run, None, inputs[shape][role]) for role, session in opened.items()}
            with no_garbage_collection():
                blocks[shape] = block(runs, cpu_s, rng)
    return blocks


def block(runs: Mapping[str, Run], cpu_s: Callable[[], float], rng: random.Random) -> Block:
    """Warm both files up, then run them in pairs, in an order drawn for each pair."""
    for run in (*runs.values(),) * N_WARM_UPS:
        run()
    pairs = [_pair(runs, cpu_s, rng) for _ in range(N_PAIRS)]
    new_s, baseline_s = (statistics.median(pair[role] for pair in pairs) for role in ROLES)
    return Block(statistics.median(math.log(pair["new"] / pair["baseline"]) for pair in pairs), new_s, baseline_s)


def _pair(runs: Mapping[str, Run], cpu_s: Callable[[], float], rng: random.Random) -> dict[str, float]:
    return {role: _timed(runs[role], cpu_s) for role in rng.sample(ROLES, len(ROLES))}


def _timed(run: Run, cpu_s: Callable[[], float]) -> float:
    start = cpu_s()
    run()
    return max(cpu_s() - start, SHORTEST_S)
