"""The files that a stage writes while it runs: rounds and steps to resume from, and a log of numbers."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from compressor import surgery
from compressor.files import file_digest, is_intact, read_sealed, replacing, write_json, write_sealed, write_text
from compressor.model import Model
from compressor.model.artifact import load_weights_, save_weights
from compressor.progress import say

SECONDS_BETWEEN_SAVES = 60.0
LEFTOVERS = (
    "*.safetensors",
    ".*.partial",
    "step.json",
    "round.json",
)  # needed to resume, or left by a write that was cut short

Tensors = Callable[[], dict[str, Tensor]]


class Journal:
    """The log of one stage, and the files in its folder from which an interrupted run resumes."""

    def __init__(self, folder: Path, key: str, label: str) -> None:
        self.folder, self.key, self.label = folder, key, label
        self.state: dict[str, Tensor] = {}
        """Named tensors that are saved and resumed with each round, such as an accumulated importance."""
        self.round = 0
        self.n_rounds = 1
        self.n_fits = 0
        """Number of training phases started in this round."""
        self._lines: list[dict[str, Any]] = []

    def rounds(self, model: Model, n_rounds: int) -> Iterator[int]:
        """Yield the rounds that are not yet on disk; after each, save the model and the named tensors."""
        start = self._resume_round(model)
        self.n_rounds = n_rounds
        for self.round in range(start, n_rounds):
            self.n_fits = 0
            yield self.round
            self._save_round(model, self.round + 1)

    def log(self, **numbers: Any) -> None:
        """Log one line of numbers for the report, and show it."""
        self._lines.append(numbers)
        write_text(self.folder / "rounds.jsonl", "".join(json.dumps(line) + "\n" for line in self._lines))
        say(f"{self.label:<24} " + "  ".join(f"{name} {_short(value)}" for name, value in numbers.items()))

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file into the stage's folder."""
        write_json(self.folder / name, value)

    def saver(self) -> Callable[[int, Tensors], None]:
        """Return the function that saves a training phase from time to time."""
        last = time.monotonic()
        tag = self._tag()

        def save(step: int, tensors: Tensors) -> None:
            nonlocal last
            if time.monotonic() - last < SECONDS_BETWEEN_SAVES:
                return
            file = self.folder / f"step-{self.round}-{self.n_fits}-{step}.safetensors"
            with replacing(file) as beside:
                save_file(tensors() | {f"state.{name}": tensor for name, tensor in self.state.items()}, beside)
            self._write_pointer("step.json", {"phase": tag, "step": step, "file": file.name}, file)
            self._remove("step-*.safetensors", keep=(file,))
            last = time.monotonic()

        return save

    def resume_step(self) -> tuple[int, dict[str, Tensor] | None]:
        """Return the step at which the current phase was saved, and its tensors; 0 and None if it was not saved."""
        pointer = self._pointer("step.json")
        if pointer is None or pointer["phase"] != self._tag():
            return 0, None
        saved = read_tensors(self.folder / pointer["file"])
        for name in self.state:
            self.state[name].copy_(saved[f"state.{name}"])
        return int(pointer["step"]), saved

    def clear(self) -> None:
        """Remove the files that only resuming needs."""
        for pattern in LEFTOVERS:
            self._remove(pattern)

    def _tag(self) -> list[Any]:
        return [self.key, self.round, self.n_fits]

    def _save_round(self, model: Model, next_round: int) -> None:
        weights, state = (self.folder / f"{what}-{next_round}.safetensors" for what in ("round", "state"))
        with replacing(weights) as beside:
            save_weights(model.net, beside)
        with replacing(state) as beside:
            save_file(self.state, beside)
        pointer = {
            "next": next_round,
            "weights": weights.name,
            "state": state.name,
            "factorized": surgery.specs(model.net),
            "lines": self._lines,
        }
        self._write_pointer("round.json", pointer, weights, state)
        for pattern in ("round-*.safetensors", "state-*.safetensors", "step-*.safetensors"):
            self._remove(pattern, keep=(weights, state))

    def _resume_round(self, model: Model) -> int:
        pointer = self._pointer("round.json")
        if pointer is None:
            return 0
        surgery.restore_(model.net, pointer["factorized"])
        load_weights_(model.net, self.folder / pointer["weights"])
        self.state |= load_file(self.folder / pointer["state"])
        self._lines = pointer["lines"]
        return int(pointer["next"])

    def _write_pointer(self, name: str, pointer: Mapping[str, Any], *files: Path) -> None:
        """Write from which files to resume, and their digests."""
        write_sealed(self.folder / name, {**pointer, "files": {file.name: file_digest(file) for file in files}})

    def _pointer(self, name: str) -> dict[str, Any] | None:
        """Read what `_write_pointer` wrote; None if it is missing, or a file is not as it was written."""
        pointer = read_sealed(self.folder / name)
        if pointer and all(is_intact(self.folder / file, digest) for file, digest in pointer["files"].items()):
            return pointer
        if (self.folder / name).exists():
            say(f"{self.label:<24} {name!r} or a file that it names is damaged, not resumed from there")
        return None

    def _remove(self, pattern: str, keep: tuple[Path, ...] = ()) -> None:
        for file in self.folder.glob(pattern):
            if file not in keep:
                file.unlink()


class DryJournal(Journal):
    """A journal that writes nothing, for a walk through the stages without training."""

    def rounds(self, model: Model, n_rounds: int) -> Iterator[int]:
        """Yield every round."""
        yield from range(n_rounds)

    def log(self, **numbers: Any) -> None:
        """Log nothing."""

    def write_json(self, name: str, value: Any) -> None:
        """Write nothing."""


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a file of tensors into memory, one tensor at a time.

    The mapped file counts as memory too, as long as it is open and as far as it was read, so it is closed in between.
    """
    with safe_open(file, "pt") as opened:
        names = list(opened.keys())
    tensors = {}
    for name in names:
        with safe_open(file, "pt") as opened:
            tensors[name] = opened.get_tensor(name).clone()
    return tensors


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
