"""Cost of holding dead units at zero, and of accumulating Taylor scores, over a plain training step.

Run: python benchmarks/retraining_overhead.py [--hidden-size 384] [--n-pairs 60]

A BERT of MiniLM's shape with random weights and three quarters of its units dead takes the same training step in turn
plain, holding, and holding with scores; ratios are of neighbouring steps, on one thread.
"""

import argparse
import statistics
import time

import torch
from transformers import BertConfig, BertForSequenceClassification

from compressor import surgery
from compressor.bench.host import cpu
from compressor.criteria import taylor
from compressor.model import Model, Task
from compressor.model.checkpoint import arch_of
from compressor.training.phase import holding


def dead_model(hidden_size: int) -> Model:
    """Build the network, with the first three quarters of each width dead."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=hidden_size, num_hidden_layers=6, num_attention_heads=12, intermediate_size=4 * hidden_size
    )
    task = Task("text-classification", ("a", "b"), None, ())
    model = Model(BertForSequenceClassification(config), arch_of("bert"), task)
    for width in model.widths():
        surgery.zero_units_(model.net, width, torch.arange(width.size) < round(0.75 * width.size))
    model.net.get_parameter("bert.embeddings.word_embeddings.weight").requires_grad_(False)
    return model


def main() -> None:
    """Print the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden-size", type=int, default=384)
    parser.add_argument("--n-pairs", type=int, default=60)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = dead_model(given.hidden_size)
    widths, hold, scores = model.widths(), holding(model), taylor.start(model.widths(), 0)
    trained = [parameter for parameter in model.net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True)
    ids, labels = torch.randint(1000, 30000, (32, 24)), torch.randint(2, (32,))

    def step(is_held: bool, is_scored: bool) -> float:
        began = time.perf_counter()
        model.net(input_ids=ids, labels=labels).loss.backward()
        if is_scored:
            with taylor.watching(scores, model.net, widths, goal=0.5) as add:
                add()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if is_held:
            hold()
        return time.perf_counter() - began

    model.net.train()
    for _ in range(5):
        step(True, True)
    rows = [[step(False, False), step(True, False), step(True, True)] for _ in range(given.n_pairs)]
    plain_ms = 1e3 * statistics.median(row[0] for row in rows)
    print(f"cpu: {cpu()['model']}; one thread; batch 32 x 24 tokens; plain step {plain_ms:.1f} ms")
    for name, column in (("holding", 1), ("holding and Taylor scores", 2)):
        low, median, high = statistics.quantiles([row[column] / row[0] for row in rows], n=4)
        print(f"{name:<28} {median:.3f} x a plain step (quartiles {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
