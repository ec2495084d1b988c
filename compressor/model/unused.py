"""Weights of a checkpoint that its network has no place for: refused if they are its own, else left out and named."""

from collections.abc import Iterable
from pathlib import Path

import transformers
from transformers import PreTrainedModel

from compressor.errors import InputError, listed
from compressor.progress import say

OF_PRETRAINING = ("pooler", "mask_token")  # parts of a body that many tasks do not read
BUFFERS = ("position_ids", "inv_freq", "masked_bias", "num_batches_tracked")  # computed, not learnt


def check(net: PreTrainedModel, unexpected: Iterable[str], folder: Path) -> None:
    """Refuse unused weights of what the network computes; name once what else is left out.

    Parameters
    ----------
    net : PreTrainedModel
        The loaded network.
    unexpected : iterable of str
        Names in the checkpoint that transformers found no place for.
    folder : Path
        The checkpoint.

    Raises
    ------
    InputError
        With the names, such as those of relative positions that transformers no longer knows, or scales of weights.
    """
    names = sorted(name for name in unexpected if name.rpartition(".")[2] not in BUFFERS)
    needed = [name for name in names if _is_of_network(name, net)]
    if needed:
        known = f"transformers {transformers.__version__}"
        raise InputError(
            f"{folder}: {len(needed)} weights have no place in {type(net).__name__}, such as {listed(needed, most=2)}; "
            f"give a float checkpoint of a network that {known} has"
        )
    if left_out := sorted({_part(name) for name in names}):
        say(f"{'model':<24} not read for this task, left out: {listed(left_out, most=6)}")


def _is_of_network(name: str, net: PreTrainedModel) -> bool:
    """Whether a name belongs to the body, or stands beside weights that are used."""
    prefix, parts = net.base_model_prefix, name.split(".")
    own = {child for child, _ in net.named_children()} | {child for child, _ in net.base_model.named_children()}
    if parts[0] not in own and prefix not in parts[:-1]:
        return False  # a head of another task
    modules = {each.rpartition(".")[2] for each, _ in net.named_modules()}
    return not any(part in parts and part not in modules for part in OF_PRETRAINING)


def _part(name: str) -> str:
    """Name the part of a network that weights belong to: ``cls.predictions`` of ``cls.predictions.bias``."""
    return ".".join(name.split(".")[:-1][:2]) or name
