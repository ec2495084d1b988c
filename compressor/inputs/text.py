"""Texts and pairs of texts: tokenized once, and padded batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import datasets
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel

from compressor.errors import InputError, listed, unusable
from compressor.inputs import Reader
from compressor.inputs.columns import Columns, is_text, only, row_numbers

NAMES = ("input_ids", "attention_mask", "token_type_ids")
COLUMNS = ("text", "text_pair")
FREE_AXES = {0: "batch", 1: "length"}
PROCESSOR: Literal["needed", "made", "none"] = "needed"
HAS_LENGTH = True
SKLEARN: tuple[str, ...] = ()
mirrored = None
PADDINGS = ("[PAD]", "<pad>", "<|pad|>", "<|padding|>")  # of tokenizers that do not say which token pads
PAIRS = (("sentence1", "sentence2"), ("question1", "question2"), ("premise", "hypothesis"), ("question", "sentence"))

is_column = is_text


@dataclass(frozen=True)
class Tokens:
    """Token ids of a split, end to end in one tensor for each input; a batch is cut out of them without a loop."""

    flat: dict[str, Tensor]
    lengths: Tensor
    names: tuple[str, ...]
    """Inputs of the network, in order."""
    padding: dict[str, int]
    max_length: int

    @cached_property
    def starts(self) -> Tensor:
        """Index at which each example starts."""
        return self.lengths.cumsum(0) - self.lengths

    def __call__(self, indices: Tensor) -> dict[str, Tensor]:
        """Cut these examples out, padded to the longest of them."""
        lengths = self.lengths[indices, None]
        position = torch.arange(int(lengths.max()))
        source = self.starts[indices, None] + position.minimum(lengths - 1)
        is_token = position < lengths
        inputs = {name: flat[source].where(is_token, self.padding[name]) for name, flat in self.flat.items()}
        inputs["attention_mask"] = is_token.long()
        return {name: inputs[name] for name in self.names}


def find_columns(rows: datasets.Dataset, named: Columns) -> tuple[str, ...]:
    """Return the column of the text, or those of a pair."""
    if named.text is not None:
        return (named.text,) if named.text_pair is None else (named.text, named.text_pair)
    pair = next((pair for pair in PAIRS if set(pair) <= set(rows.features)), None)
    return pair or (only("text", rows, ("text", "sentence"), is_text),)


def check(rows: datasets.Dataset, columns: Sequence[str], split: str) -> None:
    """Find nothing: texts are read at once, and with them what is wrong with them."""


def read_processor(folder: str, **settings: Any) -> Any:
    """Load a tokenizer."""
    return AutoTokenizer.from_pretrained(folder, **settings)


def new_processor(config: PreTrainedConfig) -> Any:
    """Refuse: no tokenizer can be made from a config."""
    raise InputError(f"model.processor: {type(config).__name__} needs a tokenizer; give its hub id or folder")


def agree_(net: PreTrainedModel, processor: Any, place: str) -> None:
    """Check the vocabulary, limit the length to what the network reads, and give both a padding token.

    Networks that generate text and have no padding token use the end-of-text token for it.
    """
    config = net.config
    n_ids = max(processor.get_vocab().values(), default=0) + 1  # ids may have holes, so that their number says less
    if n_ids > config.vocab_size:
        raise InputError(f"{place}: token ids up to {n_ids - 1} for a network that knows {config.vocab_size} tokens")
    most = longest(net)
    if most is not None:
        processor.model_max_length = min(processor.model_max_length, most)
    _pad_alike_(config, processor, place, is_fixed=_padded_positions(net) is not None)
    if config.is_encoder_decoder:  # their classifiers read at the end token, and need the same number in each text
        processor.split_special_tokens = True


def longest(net: PreTrainedModel) -> int | None:
    """Return the number of tokens that the network reads at most; None if nothing bounds it, as in T5 and XLNet."""
    n_positions = getattr(net.config, "max_position_embeddings", None)
    bounds = [n_positions] if n_positions and n_positions > 0 else []  # XLNet says -1
    padded = _padded_positions(net)
    if padded is not None:
        bounds.append(padded.num_embeddings - cast(int, padded.padding_idx) - 1)
    return min(bounds, default=None)


def _padded_positions(net: nn.Module) -> nn.Embedding | None:
    """Find the positions of a network that counts them from the padding's id on, as RoBERTa does; most do not."""
    for name, module in net.named_modules():
        is_table = isinstance(module, nn.Embedding) and name.rpartition(".")[2] == "position_embeddings"
        if is_table and cast(nn.Embedding, module).padding_idx is not None:
            return cast(nn.Embedding, module)
    return None


def _pad_alike_(config: PreTrainedConfig, processor: Any, place: str, *, is_fixed: bool) -> None:
    """Make config and tokenizer pad alike: a decoder reads the last token that is not the padding of its config.

    The end of a text stays the padding of a network that was trained so; else the tokenizer decides.
    """
    if processor.pad_token is None:
        vocabulary = processor.get_vocab()
        found = next((token for token in PADDINGS if token in vocabulary), None)
        processor.pad_token = processor.eos_token or found
    if processor.pad_token is None:
        raise InputError(f"{place}: the tokenizer has no padding token; give its config a 'pad_token'")
    ends = {processor.eos_token_id, processor.bos_token_id} - {None}
    if config.pad_token_id in ends:
        processor.pad_token = processor.convert_ids_to_tokens(config.pad_token_id)
    elif is_fixed and config.pad_token_id != processor.pad_token_id:
        what = f"the network pads with id {config.pad_token_id}, the tokenizer with {processor.pad_token_id}"
        raise InputError(f"{place}: {what}; give the tokenizer that the network was trained with")
    else:
        config.pad_token_id = processor.pad_token_id


def encode(rows: datasets.Dataset, columns: Sequence[str], reader: Reader, max_length: int) -> tuple[Tokens, list[int]]:
    """Tokenize; texts are cut to ``max_length`` tokens, or to as many as the network reads."""
    tokenizer = reader.processor
    texts = [rows[name][:] for name in columns]
    for name, column in zip(columns, texts, strict=True):
        if None in column:
            raise InputError(f"data: column {name!r} is empty in {column.count(None)} rows; fill or remove them")
    n_readable = min(max_length, tokenizer.model_max_length)
    with unusable("data: the tokenizer fails on these texts"):
        encoded = tokenizer(*texts, truncation=True, max_length=n_readable, return_attention_mask=False)
        flat = {
            name: torch.tensor([value for values in encoded[name] for value in values])
            for name in reader.input_names
            if name != "attention_mask"
        }
    n_tokens = [len(ids) for ids in encoded["input_ids"]]
    if 0 in n_tokens:
        example = " | ".join(column[n_tokens.index(0)] for column in texts)
        what = (
            f"{n_tokens.count(0)} texts of {' and '.join(map(repr, columns))} give no token, such as {example[:40]!r}"
        )
        where = listed(row_numbers(rows, [at for at, n in enumerate(n_tokens) if n == 0]), most=5)
        raise InputError(f"data: {what}, at rows {where} of {rows.split}, counted from 0; fill or remove them")
    padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    return Tokens(flat, torch.tensor(n_tokens), reader.input_names, padding, n_readable), n_tokens


def features(rows: datasets.Dataset, columns: Sequence[str]) -> None:
    """Measure nothing: a network reads tokens."""


def sizes(config: PreTrainedConfig) -> dict[str, int]:
    """Return the number of tokens, which `trim_vocabulary` reduces."""
    return {"vocabulary": config.vocab_size}


def example(
    reader: Reader, config: PreTrainedConfig, batch_size: int, length: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Make random texts; the first is full, the others end in padding, so that masks are exercised.

    They are no longer than what the network reads.
    """
    length = min(length, reader.processor.model_max_length)
    n_tokens = torch.randint(1, length + 1, (batch_size, 1), generator=generator)
    n_tokens[0] = length
    mask = torch.arange(length) < n_tokens
    random_ids = torch.randint(config.vocab_size, (batch_size, length), generator=generator)
    padding = torch.tensor(reader.processor.pad_token_id)
    if config.is_encoder_decoder:  # their classifiers read the state at the only end-of-text token
        end = config.eos_token_id
        random_ids = random_ids.where(random_ids != end, padding).scatter(1, n_tokens - 1, end)
    inputs = {
        "input_ids": torch.where(mask, random_ids, padding),
        "attention_mask": mask.long(),
        "token_type_ids": torch.zeros_like(random_ids),
    }
    return {name: inputs[name] for name in reader.input_names}


def plain(config: PreTrainedConfig, batch_size: int, length: int) -> dict[str, Tensor]:
    """Make texts of one token repeated."""
    ids = torch.ones(batch_size, length, dtype=torch.long)
    if not config.is_encoder_decoder:
        return {"input_ids": ids}
    ids[:, -1] = config.eos_token_id  # where a classifier reads
    return {"decoder_input_ids": ids, "input_ids": ids}


def from_sklearn(bunch: Any) -> tuple[dict[str, Any], datasets.Features]:
    """Refuse: scikit-learn brings no texts."""
    raise InputError("data.dataset: scikit-learn has no dataset of texts; give a hub id, folder or file")
