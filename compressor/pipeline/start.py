"""The start of a run: the model and the data, matched with each other, and a dry run of the stages."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from compressor import __version__, rundir, surgery
from compressor.data import open_dataset, prepare
from compressor.data.augment import augmented
from compressor.data.batches import Data
from compressor.data.overview import overview
from compressor.errors import InputError, RecipeError, unusable
from compressor.model import Model, load_model
from compressor.model.checkpoint import digest, is_fine_tuned
from compressor.model.lengths import check_lengths
from compressor.model.outputs import outputs_of, probe_of
from compressor.model.padding import padding_gap
from compressor.pipeline import needs
from compressor.pipeline.provenance import source_of
from compressor.pipeline.record import n_units
from compressor.pipeline.shipping import shipping_of
from compressor.recipe import Recipe
from compressor.recipe.schema import STAGES, wiring
from compressor.report import document
from compressor.report.dataset import DatasetRead
from compressor.report.document import PlannedStage
from compressor.stages import finetune
from compressor.training.context import Context
from compressor.training.remembered import AnswerFiles
from compressor.training.teacher import Originals


@dataclass
class Start:
    """The model and the data that a run starts from."""

    model: Model
    data: Data
    key: str
    is_trained: bool
    """Whether the checkpoint is fine-tuned, so that it is the original; otherwise the first stage trains one."""
    source: str
    """Name of the checkpoint, for files that are published."""
    read: DatasetRead
    """What was read of the dataset."""
    padding_gap: float | None
    """Largest difference between the answers to a text alone and in a padded batch, over the largest answer."""
    recipe: Recipe
    """With what depends on the network filled in."""

    def give_up_model(self) -> Model:
        """Return the model and forget it: a run that kept it would hold one network more than it works on."""
        model = self.model
        del self.model
        return model

    def n_distilled(self, recipe: Recipe) -> int:
        """Count the examples on which the stages compare a student with the original."""
        phases = [phase for options in recipe.stages for phase in options.distilled()]
        return sum(phase.n_steps(len(self.data.augmented)) * phase.batch_size for phase in phases)

    def summary(self) -> document.Start:
        """Describe the model and the data for `check`."""
        n_examples = {"train": self.data.train, "held_out": self.data.held_out, self.data.report_name: self.data.report}
        return {
            "model": {
                "family": self.model.net.config.model_type,
                "n_params": surgery.n_params(self.model.net),
                "is_trained": self.is_trained,
                "padding_gap": self.padding_gap,
            },
            "data": {name: len(split) for name, split in n_examples.items()},
            "dataset": self.read,
        }


def begin(recipe: Recipe) -> Start:
    """Load the data and the model, and match their labels."""
    raw = open_dataset(recipe.data, recipe.model.task)
    read = overview(raw)
    torch.manual_seed(recipe.seed)
    model = load_model(recipe.model, raw.labels, raw.features)
    for name, weights in model.net.named_parameters():
        if not weights.isfinite().all():
            raise InputError(f"model.checkpoint: {name!r} has NaN or infinite weights; fetch or train it again")
    fitted = _fitted(recipe, model)
    check_lengths(model, recipe.seed)
    data = prepare(raw, recipe.data, model.task, recipe.seed)
    if recipe.data.augment is not None:
        data = replace(data, augmented=augmented(data.train, recipe.data.augment, model, recipe.seed))
    where = {"dataset", "revision"}  # the digest identifies the content
    settings = recipe.data.model_dump(mode="json", exclude=where)
    content = digest(recipe.model)
    source = source_of(recipe.model, content)
    key = rundir.chain(__version__, rundir.FORMAT, recipe.seed, content, source, raw.digest, settings)
    is_trained = is_fine_tuned(recipe.model)
    if not is_trained:
        _check_first(recipe)
    return Start(model, data, key, is_trained, source, read, _padding_gap(model, recipe.seed), fitted)


def walk_dry(recipe: Recipe, start: Start) -> Iterator[PlannedStage]:
    """Run the stages on a copy of the model without training, and yield the size after each, and what it needs.

    Options that do not fit the network are found here, before any work.
    """
    model = start.model.copy()
    n_distilled = start.n_distilled(recipe)
    for index, options in enumerate(recipe.stages):
        folder = Path(options.stage)
        originals = Originals(start.model, start.model.copy, start.data, AnswerFiles(folder, start.key), n_distilled)
        shipping = shipping_of(recipe, start.data, start.key)
        context = Context(folder, "", recipe.seed, start.data, originals, is_dry=True, shipping=shipping)
        if wiring(options.stage)[1] is Model:
            try:
                model = STAGES[options.stage].run(model, options, context)
            except ValueError as error:
                raise RecipeError(f"stages[{index}] ({options.stage}): {error}") from error
        memory, disk, temporary = needs.of_stage(options.stage, model, context.trainer)
        cuttable = {width.name for width in model.widths()}
        yield {
            "stage": options.stage,
            "n_params": surgery.n_params(model.net),
            "widths": n_units(model),
            "memory_bytes": memory,
            "disk_bytes": disk,
            "temporary_bytes": temporary,
            "fixed_widths": [width.name for width in model.arch.widths(model.net) if width.name not in cuttable],
        }


def _padding_gap(model: Model, seed: int) -> float | None:
    """Let the network answer once, which shows settings that it cannot work with."""
    outputs, name = outputs_of(model), model.task.file.OUTPUT_NAMES[0]
    with unusable("model: the network cannot answer to random inputs", "correct its config"):
        probe = probe_of(model, seed)
        largest = max(float(outputs(probe)[name].abs().max()), 1e-6)
        return padding_gap(outputs, probe, name) / largest if model.task.inputs.HAS_LENGTH else None


def _fitted(recipe: Recipe, model: Model) -> Recipe:
    """Measure lengths that the network reads, and let its tokenizer cut texts as the data are cut."""
    if not model.task.inputs.HAS_LENGTH:
        return recipe
    processor, lengths = model.task.processor, recipe.bench.lengths
    longest = processor.model_max_length
    processor.model_max_length = min(longest, recipe.data.max_length)
    if max(lengths) <= longest:
        return recipe
    if "lengths" in recipe.bench.model_fields_set:
        raise RecipeError(f"bench.lengths: the network reads at most {longest} tokens, got {max(lengths)}")
    fitting = tuple(length for length in lengths if length <= longest) or (longest,)
    return recipe.model_copy(update={"bench": recipe.bench.model_copy(update={"lengths": fitting})})


def _check_first(recipe: Recipe) -> None:
    """Refuse a network without a head if the first stage does not train one from the labels alone."""
    first = recipe.stages[0]
    if not isinstance(first, finetune.Options):
        raise InputError(
            f"model.checkpoint: {recipe.model.checkpoint!r} has no head for {recipe.model.task}; "
            "make finetune the first stage, or give a fine-tuned checkpoint"
        )
    if first.retrain.distill is not None:
        raise RecipeError("stages[0] (finetune): it trains the original, so there is no teacher yet; remove 'distill'")
