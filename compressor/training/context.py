"""The run as one stage sees it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from compressor.data.batches import Data
from compressor.model import Model
from compressor.training.journal import DryJournal, Journal
from compressor.training.teacher import Originals
from compressor.training.trainer import DryTrainer, Trainer


@dataclass(frozen=True)
class Context:
    """What a stage is given beside its options: where it writes, what it trains on, and who trains."""

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

    @cached_property
    def journal(self) -> Journal:
        """What the stage leaves in its folder."""
        return (DryJournal if self.is_dry else Journal)(self.folder, self.key, self.label)

    @cached_property
    def trainer(self) -> Trainer:
        """What trains and judges its models."""
        kind = DryTrainer if self.is_dry else Trainer
        return kind(self.data, self.originals, self.journal, self.seed)

    def rounds(self, model: Model, n_rounds: int) -> Iterator[int]:
        """Yield the rounds that are not yet on disk, each with a generator that depends on nothing else."""
        for round_ in self.journal.rounds(model, n_rounds):
            torch.manual_seed(self.trainer.seed_for("round"))
            yield round_
