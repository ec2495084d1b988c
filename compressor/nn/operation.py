"""The nodes of the graph that a layer becomes, for predicting its time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """One node of a graph: its operator, the shape of its input, and what else determines its time."""

    kind: str
    """``MatMul``, ``Add``, ``Transpose`` or ``Conv``."""
    input: tuple[int, ...]
    weight: tuple[int, ...] = ()
    """Shape of the weight, if there is one."""
    settings: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """Attributes: ``perm``; ``strides``, ``pads``, ``dilations`` and ``group``."""

    @property
    def name(self) -> str:
        """A line that stands for it in the table of times."""
        return f"{self.kind} {self.input} {self.weight} {dict(self.settings)}"
