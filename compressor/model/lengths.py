"""Whether a network reads short and long texts, and answers them alike whatever it read before."""

import torch

from compressor.errors import InputError, first_line
from compressor.model.artifact import Model
from compressor.model.outputs import outputs_of

LONGEST = 2048  # or what the network reads; attention takes memory by the square of it
_SHORTEST = 2
_RTOL = 1e-3


def check_lengths(model: Model, seed: int) -> None:
    """Try a long text, a short one, and the long one again; does nothing for networks that read no texts.

    Parameters
    ----------
    model : Model
        Its tokenizer must be limited to the texts of the run, and it must not have read anything yet.
    seed : int
        Of the random texts.

    Raises
    ------
    InputError
        If the network fails on one of them, or if the answer to the long one differs: BigBird replaces its sparse
        attention for good once it reads a text too short for it, so that what is trained is not what is loaded.
    """
    if not model.task.inputs.HAS_LENGTH:
        return
    generator = torch.Generator().manual_seed(seed)
    long, short = (
        model.task.inputs.example(model.task, model.net.config, 1, length, generator) for length in (LONGEST, _SHORTEST)
    )
    outputs, name = outputs_of(model), model.task.file.OUTPUT_NAMES[0]
    answers, network = [], type(model.net).__name__
    n_tokens, n_few = (inputs["input_ids"].shape[1] for inputs in (long, short))
    for inputs in (long, short, long):
        try:
            answers.append(outputs(inputs)[name])
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            what = f"{network} fails on a text of {inputs['input_ids'].shape[1]} tokens ({first_line(error)})"
            hint = "lower data.max_length" if inputs is long else "texts may be so short, take another family"
            raise InputError(f"model: {what}; {hint}") from error
    if not torch.allclose(answers[0], answers[2], rtol=0, atol=_RTOL * float(answers[0].abs().max())):
        what = f"{network} answers a text of {n_tokens} tokens otherwise once it has read one of {n_few}"
        raise InputError(f"model: {what}; lower data.max_length, or ask for full attention in its config.json")
