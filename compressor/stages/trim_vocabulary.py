"""Remove tokens that are rare in the training texts: cut their embedding rows and rewrite the tokenizer to match."""

import json
from collections.abc import Sequence
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from compressor import surgery
from compressor.errors import NumericsError
from compressor.model import vocabulary
from compressor.model.artifact import Model, open_task
from compressor.model.outputs import outputs_of, probe_of
from compressor.nn import FactorizedEmbedding
from compressor.temporary import temporary_folder
from compressor.training.context import Context
from compressor.training.options import StageOptions


class Options(StageOptions):
    """Recipe keys of the `trim_vocabulary` stage; place it after all training stages."""

    stage: Literal["trim_vocabulary"]
    min_count: int = Field(default=1, ge=1)
    """Tokens that occur at least this often in the training split are kept, as are special tokens and single
    characters, so that any text can still be encoded."""


def run(model: Model, options: Options, context: Context) -> Model:
    """Keep the common tokens: outputs for texts made of them stay the same; other words are split into them."""
    source = context.data.for_task(model.task).train.tokens
    if source is None:
        raise ValueError("works on text only, since other inputs have no vocabulary; leave it out")
    counts = torch.bincount(source.flat["input_ids"])
    trimmed, kept = _trimmed(model, (counts >= options.min_count).nonzero().flatten().tolist())
    _prove_answers(model, trimmed, kept, context.seed)
    _prove_tokens(model, trimmed, kept, source.max_length, context)
    n_before = model.net.config.vocab_size
    context.journal.log(tokens=len(kept), tokens_before=n_before, n_params=surgery.n_params(trimmed.net))
    return trimmed


def _trimmed(model: Model, common: Sequence[int]) -> tuple[Model, Tensor]:
    """Copy the model with the common tokens and those they are built from; also return the old ids of all these."""
    processor, trimmed = model.task.processor, model.copy()
    with temporary_folder() as home:
        folder, file = home.path, home.path / "tokenizer.json"
        processor.save_pretrained(folder)
        if not file.exists():
            raise ValueError(f"{type(processor).__name__} has no tokenizer.json to rewrite; leave it out")
        tokenizer = json.loads(file.read_text(encoding="utf-8"))
        named = [index for ids in _named(model.net.config).values() for index in ids]
        kept = vocabulary.closed(tokenizer, {*common, *processor.all_special_ids, *named})
        file.write_text(json.dumps(vocabulary.trimmed(tokenizer, kept)), encoding="utf-8")
        _keep_rows_(trimmed.net, kept)
        trimmed.net.config.save_pretrained(folder)  # some tokenizers are found by the model's family
        trimmed.task = open_task(folder, model.task)
    wanted = {token: index for index, token in enumerate(processor.convert_ids_to_tokens(kept))}
    if trimmed.task.processor.get_vocab() != wanted:
        raise ValueError(f"{type(processor).__name__} uses other token ids than its tokenizer.json; leave it out")
    return trimmed, torch.tensor(kept)


def _keep_rows_(net: PreTrainedModel, kept: Sequence[int]) -> None:
    """Remove the other rows from the embedding, and renumber the token ids in the config."""
    table = cast(nn.Embedding | FactorizedEmbedding, net.get_input_embeddings())
    new = {old: index for index, old in enumerate(kept)}
    if isinstance(table, FactorizedEmbedding):  # whose table no output layer shares
        table.weight = nn.Parameter(table.weight.data[list(kept)])
        table.padding_idx = None if table.padding_idx is None else new.get(table.padding_idx)
        net.config.vocab_size = len(kept)
    else:
        table.weight.data[: len(kept)] = table.weight.data[list(kept)]
        net.resize_token_embeddings(len(kept), mean_resizing=False)  # updates the config and tied weights too
    for name, ids in _named(net.config).items():
        left = [new[index] for index in ids if index in new]  # a family's default id may be outside the vocabulary
        setattr(net.config, name, left if isinstance(getattr(net.config, name), list) else next(iter(left), None))


def _named(config: PreTrainedConfig) -> dict[str, list[int]]:
    """Token ids in a config by their keys, such as `pad_token_id`."""
    named = {name: ids for name, ids in config.to_dict().items() if name.endswith("_token_id") and ids is not None}
    return {name: ids if isinstance(ids, list) else [ids] for name, ids in named.items()}


def _prove_answers(model: Model, trimmed: Model, kept: Tensor, seed: int) -> None:
    """Compare the outputs for random texts made of kept tokens."""
    probe = probe_of(trimmed, seed)
    before = outputs_of(model)({**probe, "input_ids": kept[probe["input_ids"]]})
    for name, values in outputs_of(trimmed)(probe).items():
        surgery.prove_equal(before[name], values, "vocabulary")


def _prove_tokens(model: Model, trimmed: Model, kept: Tensor, max_length: int, context: Context) -> None:
    """Compare the tokens of the held-out texts that consist of kept tokens and were not truncated."""
    before, after = (context.data.for_task(version.task).held_out for version in (model, trimmed))
    is_kept = torch.zeros(model.net.config.vocab_size, dtype=torch.bool).index_fill(0, kept, True)
    for index in range(len(before)):
        old, new = (split.batch([index])["input_ids"][0] for split in (before, after))
        if len(old) < max_length and is_kept[old].all() and not torch.equal(kept[new], old):
            raise NumericsError(
                f"vocabulary: a held-out text of {len(old)} kept tokens is now split into {len(new)} different ones"
            )
