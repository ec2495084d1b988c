"""Loss and score of logits over classes."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

NO_LABEL = -100  # of an unlabelled example


def loss(outputs: Mapping[str, Tensor], labels: Tensor, weight: float = 1.0) -> Tensor:
    """Return the weighted cross-entropy of the logits of a batch."""
    return weight * cross_entropy(outputs["logits"], labels)


def metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the accuracy over a split."""
    return {"accuracy": accuracy(logits, labels)}


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits, shape (batch, n_labels), over the batch; examples without a label add nothing."""
    return functional.cross_entropy(logits.float(), labels, ignore_index=NO_LABEL, reduction="sum") / len(labels)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Fraction of the rows of logits, shape (n_examples, n_labels), whose largest is at the label."""
    return int((logits.argmax(dim=-1) == labels).sum()) / len(labels)
