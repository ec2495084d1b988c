"""One training phase on Accelerate: warm-up and decay, dead units held at zero, resumable to the bit."""

import math
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from compressor import surgery
from compressor.data.batches import Split, batch_order
from compressor.errors import NumericsError, listed
from compressor.model import Model
from compressor.progress import steps
from compressor.training import precision
from compressor.training.lean import keeping_less
from compressor.training.losses import Answer, captured_relations, distillation_loss
from compressor.training.options import Retrain
from compressor.training.remembered import RememberingTeacher
from compressor.training.teacher import Teacher

DIVERGED = 20.0  # times the first loss plus one
SMOOTHING = 0.05  # share of a new loss in the running mean: it follows some 20 steps, so one bad batch is no divergence
TAIL = 0.1  # share of the steps, the last ones, whose mean loss is reported
Saved = MutableMapping[str, Tensor]


@dataclass(frozen=True)
class Phase:
    """A training phase: the model, its data, the number of steps, and the teacher."""

    label: str
    model: Model
    retrain: Retrain
    split: Split
    seed: int
    teacher: Teacher | RememberingTeacher | None = None
    after_backward: Callable[[], None] | None = None

    @property
    def n_steps(self) -> int:
        """Number of optimizer updates."""
        return self.retrain.n_steps(len(self.split))


def fit(
    phase: Phase, start: int, saved: Saved | None, save: Callable[[int, Callable[[], dict[str, Tensor]]], None]
) -> float:
    """Train from step ``start`` to the last and return the mean loss of the last tenth of the steps.

    After each step but the last, ``save`` is called with the step and a function that returns all tensors of the phase;
    ``saved`` holds the tensors that it wrote at step ``start``, and is emptied.
    """
    net, retrain = phase.model.net, phase.retrain
    accelerator = Accelerator()
    with ExitStack() as stack:
        stack.enter_context(frozen(net, retrain.freeze))
        hold = holding(phase.model)
        net.to(accelerator.device).train()
        optimizer = _optimizer(net, retrain)
        torch.manual_seed(phase.seed)
        watch = _Watch(phase)
        if saved is not None:
            _restore_(net, optimizer, saved)
            watch.restore_(saved)
            saved.clear()  # nobody should hold the weights twice while the phase runs
        loss_of = stack.enter_context(_losses(phase, accelerator.prepare(net)))
        progress = stack.enter_context(steps(phase.label, phase.n_steps))
        for step, indices in _order(phase, start):
            loss = loss_of(indices[accelerator.process_index :: accelerator.num_processes])
            accelerator.backward(loss)
            loss = loss.detach()  # lets go of the graph, whose nodes would lie between the tensors of the next step
            if phase.after_backward is not None:
                phase.after_backward()
            accelerator.clip_grad_norm_(net.parameters(), retrain.max_grad_norm)
            for group in optimizer.param_groups:
                group["lr"] = retrain.lr * lr_factor(step, phase.n_steps, retrain.warmup)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            hold()
            progress.show(step + 1, f"loss {watch.see(step, loss):.4f}")
            if step + 1 < phase.n_steps:
                save(step + 1, lambda: _state(net, optimizer) | watch.state())
        net.eval().to("cpu")
        watch.check(net)
    return watch.final


def observe(phase: Phase, n_batches: int) -> None:
    """Run the forward and backward passes of some steps, so that gradients can be read; no weight changes."""
    with ExitStack() as stack:
        stack.enter_context(frozen(phase.model.net, phase.retrain.freeze))
        phase.model.net.train()
        for module in phase.model.net.modules():
            if hasattr(module, "running_mean"):  # in training mode a batch norm would update its statistics
                module.eval()
        torch.manual_seed(phase.seed)
        loss_of = stack.enter_context(_losses(phase, phase.model.net))
        for _, (_, indices) in zip(range(n_batches), _order(phase, 0), strict=False):
            loss_of(indices).backward()
            if phase.after_backward is not None:
                phase.after_backward()
            phase.model.net.zero_grad(set_to_none=True)
        phase.model.net.eval()


def lr_factor(step: int, n_steps: int, warmup: float) -> float:
    """Fraction of the peak learning rate: linear warm-up, then a linear decay that ends one step above zero."""
    n_warmup = warmup * n_steps
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    return (n_steps - step) / (n_steps - n_warmup)


@torch.no_grad()
def holding(model: Model) -> Callable[[], None]:
    """Zero the weights that write dead units, and return the function that zeroes them after an optimizer step.

    Holding the producers of a unit at zero is enough: it then emits a constant, which `surgery.shrink_` folds,
    whatever values the weights that read it take.
    """
    held = [(hold, width) for width in model.widths() for hold in surgery.holds(model.net, width)]

    @torch.no_grad()
    def hold() -> None:
        for (slot, cut, dead), width in held:
            slot.units(width, cut).index_fill_(0, dead.to(slot.tensor.device), 0.0)

    hold()
    return hold


class _Watch:
    """Tracks the loss: refuses NaN and divergence, and averages the last tenth."""

    def __init__(self, phase: Phase) -> None:
        self.phase, self.first, self.smooth = phase, math.nan, math.nan
        self.tail: list[float] = []

    @property
    def final(self) -> float:
        return sum(self.tail) / len(self.tail)

    def see(self, step: int, loss: Tensor) -> float:
        value = float(loss.detach())
        if math.isnan(self.first):
            self.first = self.smooth = value
        self.smooth += SMOOTHING * (value - self.smooth)
        if not math.isfinite(value) or self.smooth > DIVERGED * (self.first + 1):
            raise self._failure(f"the loss diverged to {value:.3g}", step + 1)
        if step + 1 > (1 - TAIL) * self.phase.n_steps:
            self.tail.append(value)
        return self.smooth

    def state(self) -> dict[str, Tensor]:
        """Give what is remembered, for a phase that goes on: its limit and its mean are those of the whole phase."""
        return {"watch": torch.tensor([self.first, self.smooth, *self.tail], dtype=torch.float64)}

    def restore_(self, saved: Saved) -> None:
        self.first, self.smooth, *self.tail = saved["watch"].tolist()

    def check(self, net: nn.Module) -> None:
        """Refuse weights that the last step spoiled: no loss was computed with them."""
        if not all(parameter.isfinite().all() for parameter in net.parameters()):
            raise self._failure("weights became NaN or infinite", self.phase.n_steps)

    def _failure(self, what: str, step: int) -> NumericsError:
        return NumericsError(
            f"{self.phase.label}: {what} at step {step} of {self.phase.n_steps}; "
            "lower 'lr' and run again: finished stages and rounds are kept"
        )


@contextmanager
def frozen(net: nn.Module, patterns: tuple[str, ...]) -> Iterator[None]:
    """Exclude the parameters that match from training while the context is open."""
    names = [name for name, parameter in net.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"freeze: no parameter matches {pattern!r}; there are {listed(names, most=4)}")
    trained = [(name, parameter) for name, parameter in net.named_parameters() if parameter.requires_grad]
    matched = [parameter for name, parameter in trained if any(fnmatchcase(name, x) for x in patterns)]
    if len(matched) == len(trained):
        raise ValueError(f"freeze: no parameter is left to train, got {', '.join(map(repr, patterns))}")
    for parameter in matched:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in matched:
            parameter.requires_grad_(True)


def _optimizer(net: nn.Module, retrain: Retrain) -> torch.optim.AdamW:
    """AdamW; biases and normalisation weights do not decay."""
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": retrain.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=retrain.lr, fused=True)
    for weights in trained:  # as its first step would do, but before activations lie where the moments should
        moments = {"exp_avg": torch.zeros_like(weights), "exp_avg_sq": torch.zeros_like(weights)}
        optimizer.state[weights] = {"step": torch.zeros((), dtype=torch.float32, device=weights.device), **moments}
    return optimizer


def _order(phase: Phase, start: int) -> Iterator[tuple[int, Tensor]]:
    """Yield the remaining steps with their examples; the order depends on the seed alone."""
    generator = torch.Generator().manual_seed(phase.seed)
    step = 0
    while True:
        for indices in batch_order(phase.split, phase.retrain.batch_size, generator):
            if step == phase.n_steps:
                return
            if step >= start:
                yield step, indices
            step += 1


@contextmanager
def _losses(phase: Phase, net: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """Provide the function that computes the loss of a step from its examples."""
    model, distill = phase.model, phase.retrain.distill
    chosen = precision.chosen(model.net, phase.retrain.precision)
    wants_states = bool(distill and distill.hidden_states)
    with captured_relations(model, bool(distill and distill.attention_relations)) as relations:

        def loss_of(indices: Tensor) -> Tensor:
            batch = {name: tensor.to(model.net.device) for name, tensor in phase.split.batch(indices).items()}
            labels = batch.pop("labels")
            with precision.autocast(model.net, chosen), keeping_less(model.net):
                output: Any = net(**batch, output_hidden_states=wants_states)
            loss = model.task.file.loss(output, labels, phase.retrain.labels)
            if distill is not None and phase.teacher is not None:
                student = Answer(output.logits, output.hidden_states[1:] if wants_states else [], relations)
                teacher = phase.teacher.answer(batch, indices)
                loss = loss + distillation_loss(student, teacher, batch.get("attention_mask"), distill)
            return loss

        yield loss_of


def _state(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything needed to resume a phase: weights, moments and the state of the generator.

    On the CPU these are the tensors themselves, not copies, so they must be written before training goes on.
    """
    state = dict(_unshared((f"net.{name}", tensor) for name, tensor in net.state_dict().items()))
    for index, moments in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
    return {name: tensor.detach().cpu() for name, tensor in {**state, "rng": torch.get_rng_state()}.items()}


def _unshared(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Copy tensors that share memory with an earlier one: a safetensors file cannot hold them."""
    seen = set()
    for name, tensor in tensors:
        place = tensor.untyped_storage().data_ptr()
        yield name, tensor.clone() if place in seen else tensor.contiguous()
        seen.add(place)


def _restore_(net: nn.Module, optimizer: torch.optim.Optimizer, saved: Saved) -> None:
    net.load_state_dict(
        {name.removeprefix("net."): tensor for name, tensor in saved.items() if name.startswith("net.")}
    )
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in saved.items():
        if name.startswith("optimizer."):
            _, index, moment = name.split(".", 2)
            moments.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    torch.set_rng_state(saved["rng"])
