"""Weights of a checkpoint that the loaded network does not use: an error if they are its own, else a line of output."""

from collections.abc import Iterable
from pathlib import Path

import transformers
from transformers import PreTrainedModel

from compressor.errors import InputError, listed
from compressor.progress import say

OF_PRETRAINING = ("pooler", "mask_token")  # parts of a body that many tasks do not use
BUFFERS = ("position_ids", "inv_freq", "masked_bias", "num_batches_tracked")  # computed, not learned


def check(net: PreTrainedModel, unexpected: Iterable[str], folder: Path) -> None:
    """Refuse a checkpoint if weights of the network itself are unused; print once which others are left out.

    Parameters
    ----------
    net : PreTrainedModel
        The loaded network.
    unexpected : iterable of str
        Names of weights in the checkpoint that transformers did not load.
    folder : Path
        The checkpoint.

    Raises
    ------
    InputError
        With names: for example of relative positions, which transformers no longer supports, or of scales of weights.
    """
    names = sorted(name for name in unexpected if name.rpartition(".")[2] not in BUFFERS)
    needed = [name for name in names if _is_of_network(name, net)]
    if needed:
        known = f"transformers {transformers.__version__}"
        raise InputError(
            f"{folder}: {len(needed)} weights are not used by {type(net).__name__}, such as {listed(needed, most=2)}; "
            f"give a float checkpoint of a network that {known} supports"
        )
    if left_out := sorted({_part(name) for name in names}):
        say(f"{'model':<24} not used by this task, left out: {listed(left_out, most=6)}")


def _is_of_network(name: str, net: PreTrainedModel) -> bool:
    """Whether a weight belongs to the body, or to a head that the network has."""
    prefix, parts = net.base_model_prefix, name.split(".")
    own = {child for child, _ in net.named_children()} | {child for child, _ in net.base_model.named_children()}
    if parts[0] not in own and prefix not in parts[:-1]:
        return False  # a head of another task
    modules = {each.rpartition(".")[2] for each, _ in net.named_modules()}
    return not any(part in parts and part not in modules for part in OF_PRETRAINING)


def _part(name: str) -> str:
    """Return the part of a network that a weight belongs to: ``cls.predictions`` for ``cls.predictions.bias``."""
    return ".".join(name.split(".")[:-1][:2]) or name
