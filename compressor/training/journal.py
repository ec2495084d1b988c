"""What a stage leaves in its folder while it runs: rounds that resume, saved steps, and a log of numbers."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from compressor.files import read_json, replacing, write_json, write_text
from compressor.model import Model
from compressor.model.artifact import load_weights_, save_weights
from compressor.progress import say

SECONDS_BETWEEN_SAVES = 60.0
LEFTOVERS = ("*.safetensors", ".*.partial", "step.json", "round.json")  # needed to resume, or of a write cut short

Tensors = Callable[[], dict[str, Tensor]]


class Journal:
    """The folder of one stage, as far as the stage must find its way back into a run that was stopped."""

    def __init__(self, folder: Path, key: str, label: str) -> None:
        self.folder, self.key, self.label = folder, key, label
        self.state: dict[str, Tensor] = {}
        """Named tensors that are saved and resumed with each round, such as an accumulated importance."""
        self.round = 0
        self.n_rounds = 1
        self.n_fits = 0
        """Training phases begun in this round."""
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
        """Keep one line of numbers for the report and show it."""
        self._lines.append(numbers)
        write_text(self.folder / "rounds.jsonl", "".join(json.dumps(line) + "\n" for line in self._lines))
        say(f"{self.label:<24} " + "  ".join(f"{name} {_short(value)}" for name, value in numbers.items()))

    def write_json(self, name: str, value: Any) -> None:
        """Write a file of the stage's own."""
        write_json(self.folder / name, value)

    def saver(self) -> Callable[[int, Tensors], None]:
        """Give the function that saves a training phase now and then."""
        last = time.monotonic()
        tag = self._tag()

        def save(step: int, tensors: Tensors) -> None:
            nonlocal last
            if time.monotonic() - last < SECONDS_BETWEEN_SAVES:
                return
            file = self.folder / f"step-{self.round}-{self.n_fits}-{step}.safetensors"
            with replacing(file) as beside:
                save_file(tensors() | {f"state.{name}": tensor for name, tensor in self.state.items()}, beside)
            write_json(self.folder / "step.json", {"phase": tag, "step": step, "file": file.name})
            self._remove("step-*.safetensors", keep=(file,))
            last = time.monotonic()

        return save

    def resume_step(self) -> tuple[int, dict[str, Tensor] | None]:
        """Give the step that the present phase was saved at, and its tensors; 0 and None where it was not."""
        pointer = read_json(self.folder / "step.json")
        if pointer is None or pointer["phase"] != self._tag():
            return 0, None
        saved = load_file(self.folder / pointer["file"])
        for name in self.state:
            self.state[name].copy_(saved[f"state.{name}"])
        return int(pointer["step"]), saved

    def clear(self) -> None:
        """Remove what only resuming needs."""
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
        pointer = {"key": self.key, "next": next_round, "weights": weights.name, "state": state.name}
        write_json(self.folder / "round.json", {**pointer, "lines": self._lines})
        for pattern in ("round-*.safetensors", "state-*.safetensors", "step-*.safetensors"):
            self._remove(pattern, keep=(weights, state))

    def _resume_round(self, model: Model) -> int:
        pointer = read_json(self.folder / "round.json")
        if pointer is None:
            return 0
        load_weights_(model.net, self.folder / pointer["weights"])
        self.state |= load_file(self.folder / pointer["state"])
        self._lines = pointer["lines"]
        return int(pointer["next"])

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
        """Forget the numbers."""

    def write_json(self, name: str, value: Any) -> None:
        """Write nothing."""


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
