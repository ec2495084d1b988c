"""The steps of a run: one for each stage, with its folder and the key under which it counts as done."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compressor import rundir
from compressor.model import Model, OnnxGraph
from compressor.model.checkpoint import digest_of
from compressor.pipeline.shipping import key_parts
from compressor.recipe import Recipe
from compressor.recipe.schema import wiring
from compressor.rundir import RunDir
from compressor.training.options import StageOptions

Artifact = Model | OnnxGraph


@dataclass(frozen=True)
class Step:
    """One stage of a run."""

    options: StageOptions
    folder: Path
    key: str
    """Hash of everything that the step's result depends on."""
    rounds_key: str
    """The same without the retraining: rounds are kept if only that changes after a divergence."""
    label: str

    @property
    def gives(self) -> type[Artifact]:
        """Kind of artifact that the stage returns."""
        kind: type[Artifact] = wiring(self.options.stage)[1]
        return kind


def steps_of(recipe: Recipe, home: RunDir, key: str) -> Iterator[Step]:
    """Yield the steps of a recipe; ``key`` is that of the model and data it starts from."""
    for index, options in enumerate(recipe.stages):
        settings = options.model_dump(mode="json") | {"folders": [digest_of(folder) for folder in options.folders()]}
        measured = key_parts(options, recipe)
        rounds_key = rundir.chain(key, {**settings, "retrain": None}, *measured)
        key = rundir.chain(key, settings, *measured)
        label = f"[{index + 1}/{len(recipe.stages)}] {options.stage}"
        yield Step(options, home.stage(index, options.stage), key, rounds_key, label)
