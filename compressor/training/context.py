"""What a stage may ask of the run: rounds that resume, training phases, accuracy, the original model."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from compressor.data.batches import Data, accuracy, batch_order
from compressor.files import read_json, replacing, write_json, write_text
from compressor.model.artifact import Model, OnnxGraph, load_weights_, save_weights
from compressor.model.outputs import logits_of
from compressor.progress import say
from compressor.training import precision
from compressor.training.losses import check_comparable
from compressor.training.options import Retrain
from compressor.training.phase import Phase, fit, frozen, observe
from compressor.training.teacher import RememberingTeacher, Teacher, teacher_for

SECONDS_BETWEEN_SAVES = 60.0
N_OBSERVED = 100  # batches that scores are taken from where no training has gone before


class Originals:
    """The original model, and the teachers made of it: those that remember are shared by all stages."""

    def __init__(self, model: Model, data: Data, n_examples: int = 0) -> None:
        """``n_examples``: how many the distillations of the whole run will ask about."""
        self.model, self.data, self.n_examples = model, data, n_examples
        self._teachers: dict[str, Teacher | RememberingTeacher] = {}

    def teacher(self, layers: tuple[int, ...], retrain: Retrain) -> Teacher | RememberingTeacher:
        """Teacher for a student made of these layers."""
        assert retrain.distill is not None
        wanted, chosen = retrain.distill, precision.chosen(self.model.net, retrain.precision)
        key = json.dumps([layers, wanted.hidden_states > 0, wanted.attention_relations > 0, chosen])
        if key not in self._teachers:
            self._teachers = {
                key: teacher_for(self.model, layers, wanted, chosen, self.data.augmented, self.n_examples)
            }
        return self._teachers[key]


@dataclass
class Context:
    """The run as one stage sees it."""

    folder: Path
    """The stage's own folder."""
    key: str
    seed: int
    data: Data
    originals: Originals | None
    """None until there is an original: before the first `finetune` of a network that starts untrained."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What goes into exported files: name, version, source and recipe digest."""
    is_dry: bool = False
    """Nothing is trained, measured or written: `check` walks the stages like this."""
    label: str = ""
    state: dict[str, Tensor] = field(default_factory=dict)
    """Named tensors that are saved and resumed with each round, such as an accumulated importance."""
    _round: int = 0
    _n_rounds: int = 1
    _n_fits: int = 0
    _lines: list[dict[str, Any]] = field(default_factory=list)

    def original(self) -> Model:
        """Return the untouched model: what is distilled from and compared with."""
        assert self.originals is not None  # pipeline.py refuses a distillation without one
        return self.originals.model

    def rounds(self, model: Model, n_rounds: int) -> Iterator[int]:
        """Yield the rounds that are not yet on disk; after each, save the model and the named tensors."""
        start = self._resume_round(model)
        self._n_rounds = n_rounds
        for round_ in range(start, n_rounds):
            self._round, self._n_fits = round_, 0
            torch.manual_seed(self._seed("round"))
            yield round_
            if not self.is_dry:
                self._save_round(model, round_ + 1)

    def fit(self, model: Model, retrain: Retrain, *, after_backward: Callable[[], None] | None = None) -> float:
        """Train for a short phase, or go on with it, and return its final loss; dead units are held at zero."""
        if self.is_dry:
            if model.task.processor is not self.data.processor:  # the teacher and the training texts are in its words
                raise ValueError("the vocabulary was trimmed before; put trim_vocabulary behind the stages that train")
            if retrain.distill is not None:
                check_comparable(model, retrain.distill)
            with frozen(model.net, retrain.freeze):  # refuses patterns that match nothing
                return float("nan")
        phase = self._phase(model, retrain, after_backward)
        start, saved = self._resume_step()
        return fit(phase, start, saved, self._saver())

    def observe(self, model: Model, retrain: Retrain, after_backward: Callable[[], None]) -> None:
        """Run the forward and backward passes of some steps without updating any weight."""
        observe(self._phase(model, retrain, after_backward), N_OBSERVED)

    def look(self, model: Model, batch_size: int) -> None:
        """Run the network on some training batches, for who looks at its activations."""
        generator = torch.Generator().manual_seed(self._seed("look"))
        logits = logits_of(model)
        for _, indices in zip(range(N_OBSERVED), batch_order(self.data.train, batch_size, generator), strict=False):
            logits(self.data.train.batch(indices))

    def evaluate(self, artifact: Model | OnnxGraph) -> dict[str, float]:
        """Accuracy on the held-out share: the only split on which choices are made."""
        if self.is_dry:
            return {}
        held_out = self.data.for_task(artifact.task).held_out
        return {"accuracy_held_out": accuracy(logits_of(artifact), held_out, batch_size=64)}

    def log(self, **numbers: Any) -> None:
        """Keep one line of numbers for the report and show it."""
        if self.is_dry:
            return
        self._lines.append(numbers)
        write_text(self.folder / "rounds.jsonl", "".join(json.dumps(line) + "\n" for line in self._lines))
        say(f"{self.label:<24} " + "  ".join(f"{name} {_short(value)}" for name, value in numbers.items()))

    def _phase(self, model: Model, retrain: Retrain, after_backward: Callable[[], None] | None) -> Phase:
        label = f"{self.label} {self._round + 1}/{self._n_rounds}" if self._n_rounds > 1 else self.label
        teacher, split = None, self.data.train
        if retrain.distill is not None and self.originals is not None:
            split, teacher = self.data.augmented, self.originals.teacher(model.layers, retrain)
        self._n_fits += 1
        return Phase(label, model, retrain, split, self._seed("fit"), teacher, after_backward)

    def _seed(self, purpose: str) -> int:
        """Seed that depends on the recipe's seed, the stage, the round and the purpose, and on nothing else."""
        text = json.dumps([self.seed, self.folder.name, self._round, self._n_fits, purpose])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])

    def _save_round(self, model: Model, next_round: int) -> None:
        weights = self.folder / f"round-{next_round}.safetensors"
        with replacing(weights) as beside:
            save_weights(model.net, beside)
        state = self.folder / f"state-{next_round}.safetensors"
        with replacing(state) as beside:
            save_file(self.state, beside)
        write_json(
            self.folder / "round.json",
            {"key": self.key, "next": next_round, "weights": weights.name, "state": state.name, "lines": self._lines},
        )
        for old in (*self.folder.glob("round-*.safetensors"), *self.folder.glob("s*-*.safetensors")):
            if old not in (weights, state):
                old.unlink()

    def _resume_round(self, model: Model) -> int:
        pointer = None if self.is_dry else read_json(self.folder / "round.json")
        if pointer is None:
            return 0
        load_weights_(model.net, self.folder / pointer["weights"])
        self.state |= load_file(self.folder / pointer["state"])
        self._lines = pointer["lines"]
        return int(pointer["next"])

    def _saver(self) -> Callable[[int, Callable[[], dict[str, Tensor]]], None]:
        """Give the function that saves a phase now and then."""
        tag = self._phase_tag()
        last = time.monotonic()

        def save(step: int, state: Callable[[], dict[str, Tensor]]) -> None:
            nonlocal last
            if time.monotonic() - last < SECONDS_BETWEEN_SAVES:
                return
            file = self.folder / f"step-{self._round}-{self._n_fits}-{step}.safetensors"
            with replacing(file) as beside:
                save_file(state() | {f"state.{name}": tensor for name, tensor in self.state.items()}, beside)
            write_json(self.folder / "step.json", {"phase": tag, "step": step, "file": file.name})
            for old in self.folder.glob("step-*.safetensors"):
                if old != file:
                    old.unlink()
            last = time.monotonic()

        return save

    def _phase_tag(self) -> list[Any]:
        return [self.key, self._round, self._n_fits]

    def _resume_step(self) -> tuple[int, dict[str, Tensor] | None]:
        pointer = read_json(self.folder / "step.json")
        if pointer is None or pointer["phase"] != self._phase_tag():
            return 0, None
        saved = load_file(self.folder / pointer["file"])
        for name in self.state:
            self.state[name].copy_(saved[f"state.{name}"])
        return int(pointer["step"]), saved


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
