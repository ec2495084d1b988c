"""Whether a text is answered alike alone and in a padded batch."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from compressor.model.outputs import Outputs


def rows_alone(inputs: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield each text of a padded batch as a batch of its own, without its padding."""
    for row, n_tokens in enumerate(inputs["attention_mask"].sum(dim=1).tolist()):
        yield {name: values[row : row + 1, :n_tokens] for name, values in inputs.items()}


def padding_gap(outputs: Outputs, inputs: Mapping[str, Tensor], name: str) -> float:
    """Give the largest difference of an output between a text alone and the same text in a padded batch.

    Some networks mix neighbouring positions and so cannot be free of it: those with convolutions or Fourier transforms
    over the tokens. In others it means that config and tokenizer pad with different tokens.
    """
    together = outputs(inputs)[name]
    alone = (outputs(row)[name][0] for row in rows_alone(inputs))
    return max(float((found - expected).abs().max()) for found, expected in zip(together, alone, strict=True))
