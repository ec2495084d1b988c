"""The run as one stage sees it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from compressor.data.batches import Data
from compressor.model import Model
from compressor.training.journal import DryJournal, Journal
from compressor.training.shipping import Shipping
from compressor.training.teacher import Originals
from compressor.training.trainer import DryTrainer, Trainer


@dataclass(frozen=True)
class Context:
    """The inputs of a stage besides its options: its folder, its data, and its trainer."""

    folder: Path
    """The stage's own folder."""
    key: str
    seed: int
    data: Data
    originals: Originals | None
    """None if there is no original yet: before the first `finetune` of a network that starts untrained."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Written into exported files: name, version, source and recipe digest."""
    is_dry: bool = False
    """If true, nothing is trained, measured or written; `check` runs the stages like this."""
    label: str = ""
    shipping: Shipping | None = None
    """How the run writes its last file, for a target."""

    @cached_property
    def journal(self) -> Journal:
        """The log of the stage, and the files that it resumes from."""
        return (DryJournal if self.is_dry else Journal)(self.folder, self.key, self.label)

    @cached_property
    def trainer(self) -> Trainer:
        """Trains and evaluates the models of the stage."""
        kind = DryTrainer if self.is_dry else Trainer
        return kind(self.data, self.originals, self.journal, self.seed)

    def rounds(self, model: Model, n_rounds: int) -> Iterator[int]:
        """Yield the rounds that are not yet on disk, each with its own random seed."""
        for round_ in self.journal.rounds(model, n_rounds):
            torch.manual_seed(self.trainer.seed_for("round"))
            yield round_
