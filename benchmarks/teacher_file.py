"""Cost of reading the teacher's outputs from a file, over keeping them in memory, in a training step of the flagship.

Run: python benchmarks/teacher_file.py [--n-examples 60000] [--n-pairs 60]

A student of the flagship's shape takes the same distillation step in turn with states that are gathered from a tensor
in memory and from the mapped file. Ratios are those of the processor time of neighbouring steps, on one thread.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

from compressor.bench.host import cpu
from compressor.training.losses import Answer, distillation_loss
from compressor.training.options import Distill
from compressor.training.remembered import AnswerFiles, Packed, RememberingTeacher, remembering

WIDTH, N_LAYERS, LENGTH, BATCH_SIZE = 384, 3, 16, 32
WANTED = Distill(logits=0.7, hidden_states=5.0)


class InMemory(RememberingTeacher):
    """The same, from a copy in memory."""

    def __init__(self, files: AnswerFiles) -> None:
        super().__init__(files)
        self.states, self.map = self.states.clone(), None


def parts(n_examples: int) -> Iterator[Packed]:
    """Make random outputs of a teacher."""
    for indices in torch.arange(n_examples).split(1000):
        states = torch.randn(len(indices) * LENGTH, N_LAYERS, WIDTH).bfloat16()
        yield indices, torch.randn(len(indices), 2), states, torch.full((len(indices),), LENGTH)


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-examples", type=int, default=60000)
    parser.add_argument("--n-pairs", type=int, default=60)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = BertConfig(hidden_size=WIDTH, num_hidden_layers=N_LAYERS, num_attention_heads=12, intermediate_size=1536)
    net = BertForSequenceClassification(config)
    net.get_parameter("bert.embeddings.word_embeddings.weight").requires_grad_(False)
    optimizer = torch.optim.AdamW((each for each in net.parameters() if each.requires_grad), lr=1e-6, fused=True)
    batch = {"input_ids": torch.randint(1000, 30000, (BATCH_SIZE, LENGTH))}

    def step(teacher: RememberingTeacher, indices: torch.Tensor) -> float:
        began = time.process_time()
        output = net(**batch, output_hidden_states=True)
        answer = teacher.answer(batch, indices)
        distillation_loss(Answer(output.logits, output.hidden_states[1:], {}), answer, None, WANTED).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.process_time() - began

    with tempfile.TemporaryDirectory() as folder:
        files, n_examples = AnswerFiles(Path(folder), "key"), given.n_examples
        from_file = remembering(files, parts(n_examples), n_examples, n_examples * LENGTH * N_LAYERS * WIDTH * 2)
        in_memory, ratios = InMemory(files), []
        for _ in range(given.n_pairs):
            indices = torch.randint(n_examples, (BATCH_SIZE,))
            expected, found = in_memory.answer(batch, indices), from_file.answer(batch, indices)
            assert all(map(torch.equal, expected.hidden_states, found.hidden_states))
            indices = torch.randint(n_examples, (BATCH_SIZE,))  # others, whose pages were not touched just now
            memory, file = step(in_memory, indices), step(from_file, indices)
            ratios.append(file / memory)
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"{cpu()['model']}: file over memory {middle:.3f} (quartiles {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
