"""What a training phase needs of memory, from the sizes of its tensors."""

from collections.abc import Iterable

import torch
from torch import Tensor

from compressor.data.batches import Split
from compressor.model import Model
from compressor.training import precision
from compressor.training.lean import keeping_less
from compressor.training.options import Retrain
from compressor.training.phase import frozen

FEW, MORE = 2, 4  # rows of two forward passes that are compared; a batch norm refuses a single one
N_MOMENTS = 2  # of AdamW, for each trained weight


def n_bytes(weights: Iterable[Tensor]) -> int:
    """Count the bytes of tensors."""
    return sum(tensor.nbytes for tensor in weights)


def of_caching(original: Model, retrain: Retrain, split: Split, n_rows: int) -> int:
    """Estimate the memory in which a teacher answers ``n_rows`` of the longest examples: about one layer's outputs."""
    few, more = (_kept(original, retrain, split, n_rows) for n_rows in (FEW, MORE))
    return round((more - few) / (MORE - FEW) * n_rows / max(1, len(original.arch.blocks(original.net))))


def of_phase(model: Model, retrain: Retrain, split: Split) -> int:
    """Estimate the memory of a training phase in bytes.

    It is the sum of weights, gradients, moments, and what the forward pass of a batch of the longest examples keeps for
    the backward pass. Gradients replace the latter one by one, but an allocator seldom fills one gap with the other.
    """
    with frozen(model.net, retrain.freeze):
        trained = n_bytes(weights for weights in model.net.parameters() if weights.requires_grad)
        few, more = (_kept(model, retrain, split, n_rows) for n_rows in (FEW, MORE))
    a_row = (more - few) / (MORE - FEW)
    return round(n_bytes(model.net.parameters()) + (1 + N_MOMENTS) * trained + few + a_row * (retrain.batch_size - FEW))


def saved_step(model: Model, retrain: Retrain) -> int:
    """Count the bytes of a saved step: weights and moments."""
    with frozen(model.net, retrain.freeze):
        trained = n_bytes(weights for weights in model.net.parameters() if weights.requires_grad)
    return n_bytes(model.net.parameters()) + N_MOMENTS * trained


def _kept(model: Model, retrain: Retrain, split: Split, n_rows: int) -> int:
    """Count the bytes that the forward pass of the longest examples keeps, besides the weights themselves."""
    net = model.net
    weights = {tensor.untyped_storage().data_ptr() for tensor in net.parameters()}
    kept: dict[int, Tensor] = {}  # by storage; held, so that no storage takes the place of another

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor.detach()
        return tensor.detach()  # a node that kept its own result would hold itself, and the network, for ever

    longest = torch.tensor(split.lengths).argsort(descending=True, stable=True)[:n_rows]
    batch = split.batch(longest.repeat(n_rows)[:n_rows])
    del batch["labels"]
    was_training = net.training
    chosen = precision.autocast(net, precision.chosen(net, retrain.precision))
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, _same)
    with torch.random.fork_rng(devices=[]), hooks, chosen, keeping_less(net, keep):
        net.train()(**batch)
    net.train(was_training)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _same(tensor: Tensor) -> Tensor:
    return tensor
