"""YAML to Recipe: strict and typed, every problem with its line, and stages that fit together."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import yaml
from pydantic import Field, ValidationError, field_validator

from compressor import stages
from compressor.bench import meters
from compressor.bench.plan import MOST_BATCH, MOST_LENGTH, MOST_THREADS
from compressor.bench.reading import read_text
from compressor.data import Dataset
from compressor.errors import RecipeError
from compressor.model import Model, Source
from compressor.options import Base, Share
from compressor.plugins import discover, names
from compressor.recipe import packaged
from compressor.recipe.messages import complaints
from compressor.recipe.strict_yaml import (
    MOST_BYTES,
    NUMBER,
    Document,
    Origin,
    Problem,
    nearest,
    override_,
    read,
    refuse,
)
from compressor.stages import Stage
from compressor.training.options import StageOptions

STAGES = discover(stages, Stage)
MOST_STAGES = 100  # their folders are numbered 00 to 99

if TYPE_CHECKING:
    AnyStage = StageOptions
else:
    AnyStage = Annotated[reduce(or_, (module.Options for module in STAGES.values())), Field(discriminator="stage")]


class Bench(Base):
    """Measurements at the end of a run, of the original and of the results."""

    batch_sizes: tuple[Annotated[int, Field(gt=0, le=MOST_BATCH)], ...] = Field(default=(1,), min_length=1)
    """Inputs per inference."""
    lengths: tuple[Annotated[int, Field(gt=0, le=MOST_LENGTH)], ...] = Field(default=(32, 128), min_length=1)
    """Tokens per input; for images the input size of the model is used."""
    threads: tuple[Annotated[int, Field(gt=0, le=MOST_THREADS)], ...] = Field(default=(1,), min_length=1)
    """Threads of the runtime."""
    meter: str = "auto"
    """Energy meter; `auto` uses the first one that works on this machine, or none; `none` measures no energy."""

    @field_validator("meter")
    @classmethod
    def _is_known(cls, meter: str) -> str:
        if meter not in (known := ["auto", "none", *names(meters)]):
            raise ValueError(f"no such file in {meters.__name__}; {nearest(meter, known)}")
        return meter


class Gates(Base):
    """Limits on the result; a missed limit is exit code 6."""

    max_accuracy_drop: Share | None = Field(default=None, ge=0, le=1)
    """Accuracy that the last file may lose compared with the original's fp32 file, as a fraction."""
    max_p50_ratio: float | None = Field(default=None, gt=0)
    """p50 of the last file over that of the original of the same precision, at every measured point."""
    max_size_ratio: float | None = Field(default=None, gt=0)
    """Size of the last file over that of the original of the same precision."""
    max_energy_ratio: float | None = Field(default=None, gt=0)
    """J/inference of the last file over that of the original of the same precision; measured energy only."""


class Recipe(Base):
    """A whole run: the model to compress, the data, the stages, and the limits on the result."""

    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Fixes every random choice of the run."""
    model: Source
    """The model to compress."""
    data: Dataset
    """The data for training and evaluation."""
    stages: tuple[AnyStage, ...] = Field(min_length=1, max_length=MOST_STAGES)
    """The stages, in order."""
    bench: Bench = Bench()
    """Measurements at the end."""
    gates: Gates = Gates()
    """Limits on the result."""


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a path, or a packaged one by its name, and apply overrides such as `seed=1`.

    Raises
    ------
    RecipeError
        With every problem, one per line, as `file:line: place: what is wrong; what to do`.
    """
    found = packaged.find(path)
    try:
        text = read_text(found, MOST_BYTES, "utf-8-sig")
    except (OSError, ValueError) as error:
        raise RecipeError(f"{found}: cannot be read as UTF-8 text, {error}; fix the file") from error
    document = read(text, str(found))
    return _validated(document, overrides)


def parse(data: Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """Build a recipe from plain data, as strictly as from a file."""
    plain = json.loads(json.dumps(data, default=str))
    return _validated(Document(plain, {(): Origin(0, "")}), overrides)


def dump(recipe: Recipe) -> str:
    """Write a recipe with all its defaults as YAML that loads back to an equal one."""
    return yaml.dump(recipe.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Quotes texts that `strict_yaml` reads as numbers and plain YAML 1.1 does not, such as 1e-4."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"({NUMBER.pattern}|[-+]?[0-9]+)$"), None)


def _validated(document: Document, overrides: Sequence[str]) -> Recipe:
    for setting in overrides:
        override_(document, setting)
    problems = [*document.problems, *_misfits(document), *_untrained(document)]
    text = json.dumps(document.data)
    try:
        recipe = Recipe.model_validate_json(text, strict=True)  # strict: "3" and true are not numbers, 3 is not text
    except ValidationError as error:
        refuse(problems + list(complaints(error, Recipe, document)))
        raise
    refuse(problems)
    return recipe


# Stages that do not fit together, judged by the types of their `run` functions.


def _misfits(document: Document) -> Iterator[Problem]:
    given: Any = Model
    giver = "the first stage is given Model"
    for index, name in enumerate(_stage_names(document)):
        if name not in STAGES:
            given = None  # reported by the schema; the type of its result is unknown
            continue
        origin = document.origin(("stages", index, "stage"))
        takes, gives = wiring(name)
        if given and given not in takes:
            wanted = " or ".join(kind.__name__ for kind in takes)
            yield Problem(origin, ("stages", index), f"'{name}' takes {wanted}, but {giver}")
        line = origin.text.rpartition(":")[2]
        said = f"on line {line}" if line.isdecimal() else f"in stages[{index}]"
        given, giver = gives, f"'{name}' {said} gives {gives.__name__}"


def wiring(name: str) -> tuple[tuple[type, ...], type]:
    """Return the kinds of artifact that a stage takes, and the kind that it returns."""
    hints = get_type_hints(STAGES[name].run)
    taken = next(iter(hints.values()))
    return get_args(taken) or (taken,), hints["return"]


def _untrained(document: Document) -> Iterator[Problem]:
    first = next(iter(_stage_names(document)), None)
    model = _under(document.data, "model")
    if _under(model, "config") is not None and first in STAGES and first != "finetune":
        what = f"'{first}' comes first, but model.config starts from random weights; put 'finetune' before it"
        yield Problem(document.origin(("stages", 0, "stage")), ("stages", 0), what)


def _stage_names(document: Document) -> list[str]:
    entries = _under(document.data, "stages")
    return [str(_under(entry, "stage")) for entry in entries] if isinstance(entries, list) else []


def _under(data: Any, key: str) -> Any:
    """Value of a key in data that may not have it, since the schema has not checked it yet."""
    return data.get(key) if isinstance(data, dict) else None
