"""Train a model for one phase, run it on some batches, and evaluate it on the held-out share."""

import hashlib
import json
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor

from compressor.data.batches import Data, batch_order, metrics, some_batches
from compressor.model import Model, OnnxGraph, logits_of, outputs_of
from compressor.options import Calibration
from compressor.tasks import Task
from compressor.training import needs
from compressor.training.journal import Journal
from compressor.training.losses import check_comparable
from compressor.training.options import Retrain
from compressor.training.phase import Phase, fit, frozen, observe
from compressor.training.teacher import BATCH_SIZE as ANSWERED
from compressor.training.teacher import Originals

N_OBSERVED = 100  # batches for computing scores when no training came before
N_JUDGED = 512  # examples of the held-out share used to compare many variants of a network
N_COMPARED = 192  # the same, where there are a hundred variants
BATCH_SIZE = 64  # of the held-out share


class Trainer:
    """Training and evaluation in a run; every random choice depends on the seed, stage, round and purpose alone."""

    def __init__(self, data: Data, originals: Originals | None, journal: Journal, seed: int) -> None:
        self.data, self.originals, self.journal, self.seed = data, originals, journal, seed

    def fit(self, model: Model, retrain: Retrain, *, after_backward: Callable[[], None] | None = None) -> float:
        """Run or resume a training phase and return its final loss; dead units are held at zero."""
        phase = self._phase(model, retrain, after_backward)
        start, saved = self.journal.resume_step()
        return fit(phase, start, saved, self.journal.saver())

    def observe(self, model: Model, retrain: Retrain, after_backward: Callable[[], None]) -> None:
        """Run the forward and backward passes of some steps without updating any weight."""
        observe(self._phase(model, retrain, after_backward), N_OBSERVED)

    def look(self, model: Model, batch_size: int) -> None:
        """Run the network on some training batches, so that its activations can be read."""
        generator = torch.Generator().manual_seed(self.seed_for("look"))
        logits = logits_of(model)
        for indices in islice(batch_order(self.data.train, batch_size, generator), N_OBSERVED):
            logits(self.data.train.batch(indices))

    def calibration(self, options: Calibration) -> list[dict[str, Tensor]]:
        """Draw rows of the part of the training split that is not held out, in batches with their labels."""
        split = self.data.train
        return some_batches(split, self._drawn(options, len(split)), BATCH_SIZE)

    def calibration_rows(self, options: Calibration, task: Task) -> Iterator[dict[str, Tensor]]:
        """Draw the same rows one by one, in the tokens of a task."""
        split = self.data.for_task(task).train
        for row in self._drawn(options, len(split)):
            yield split.batch(row[None])

    def judged(self) -> list[dict[str, Tensor]]:
        """Draw rows of the held-out share on which variants of a network are compared, in batches."""
        generator = torch.Generator().manual_seed(self.seed_for("judged"))
        split = self.data.held_out
        return some_batches(split, torch.randperm(len(split), generator=generator)[:N_COMPARED], BATCH_SIZE)

    def evaluate(self, artifact: Model | OnnxGraph) -> dict[str, float]:
        """Evaluate on the held-out share, the only split on which choices are made."""
        held_out = self.data.for_task(artifact.task).held_out
        scores = metrics(artifact.task, logits_of(artifact), held_out, BATCH_SIZE)
        return {f"{name}_held_out": value for name, value in scores.items()}

    def held_out_loss(self, model: Model) -> float:
        """Mean loss of the task on part of the held-out share."""
        outputs, split = outputs_of(model), self.data.for_task(model.task).held_out
        generator = torch.Generator().manual_seed(self.seed)
        total, n_seen = 0.0, 0
        for indices in batch_order(split, BATCH_SIZE, generator):
            batch = split.batch(indices)
            total += float(model.task.file.loss(outputs(batch), batch["labels"])) * len(indices)
            n_seen += len(indices)
            if n_seen >= N_JUDGED:
                break
        return total / n_seen

    def seed_for(self, purpose: str) -> int:
        """Seed that depends on the recipe's seed, the stage, the round and the purpose, and on nothing else."""
        journal = self.journal
        text = json.dumps([self.seed, journal.folder.name, journal.round, journal.n_fits, purpose])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])

    def _drawn(self, options: Calibration, n_rows: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed_for("calibration"))
        return torch.randperm(n_rows, generator=generator)[: options.examples]

    def _phase(self, model: Model, retrain: Retrain, after_backward: Callable[[], None] | None) -> Phase:
        journal = self.journal
        label = f"{journal.label} {journal.round + 1}/{journal.n_rounds}" if journal.n_rounds > 1 else journal.label
        teacher, split = None, self.data.train
        if retrain.distill is not None and self.originals is not None:
            split, teacher = self.data.augmented, self.originals.teacher(model.layers, retrain)
        journal.n_fits += 1
        return Phase(label, model, retrain, split, self.seed_for("fit"), teacher, after_backward)


class DryTrainer(Trainer):
    """Trains and evaluates nothing, but refuses phases that could not run, and finds what they need."""

    memory_bytes = 0
    """Of the largest phase, with its teacher."""
    step_bytes = 0
    """Of a step that the phase saves."""
    teacher_bytes = 0
    """Of the file of the teacher's outputs."""

    def fit(self, model: Model, retrain: Retrain, *, after_backward: Callable[[], None] | None = None) -> float:
        """Check that the phase fits the network."""
        if model.task.processor is not self.data.processor:  # the teacher and the training texts use its tokens
            raise ValueError("the vocabulary is already trimmed; put trim_vocabulary after the stages that train")
        if retrain.distill is not None:
            check_comparable(model, retrain.distill)
        with frozen(model.net, retrain.freeze):  # refuses patterns that match nothing
            pass
        if not self.memory_bytes:  # the first phase of a stage is the largest
            self._weigh(model, retrain)
        return float("nan")

    def _weigh(self, model: Model, retrain: Retrain) -> None:
        self.step_bytes = needs.saved_step(model, retrain)
        if retrain.distill is None or self.originals is None:
            self.memory_bytes = needs.of_phase(model, retrain, self.data.train)
            return
        original, split = self.originals.model, self.data.augmented
        self.teacher_bytes = self.originals.n_remembered(model.layers, retrain)
        caching = needs.of_caching(original, retrain, split, ANSWERED) if self.teacher_bytes else 0
        student = needs.n_bytes(model.net.parameters())
        phase = needs.of_phase(model, retrain, split)
        self.memory_bytes = needs.n_bytes(original.net.parameters()) + max(phase, student + caching)

    def observe(self, model: Model, retrain: Retrain, after_backward: Callable[[], None]) -> None:
        """Observe nothing."""

    def look(self, model: Model, batch_size: int) -> None:
        """Run nothing."""

    def calibration(self, options: Calibration) -> list[dict[str, Tensor]]:
        """Draw nothing."""
        return []

    def evaluate(self, artifact: Model | OnnxGraph) -> dict[str, float]:
        """Evaluate nothing."""
        return {}

    def held_out_loss(self, model: Model) -> float:
        """Return the same loss for every network."""
        return 0.0
