"""Which axes of a file's inputs are the batch, which are the length of a sequence, and which are still open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from .result import InputFacts

Size = int | str | None  # a fixed size, or the name of a free axis; None if it has no name
BATCHED = (
    2,
    4,
    5,
)  # numbers of axes of tables, texts, images and videos; one or three may be those of a single example


class Declared(NamedTuple):
    """An input as a file declares it."""

    name: str
    shape: tuple[Size, ...]
    is_whole: bool
    """Whether it takes whole numbers or booleans: ids, masks."""


@dataclass(frozen=True)
class Axes:
    """The axes of all inputs of a file; states and caches share the batch axis with the main input."""

    declared: tuple[Declared, ...]

    def is_batch(self, each: Declared, axis: int) -> bool:
        """Tell whether an axis is free and is the batch: the first axis of an input, and others of the same name."""
        size = each.shape[axis]
        if isinstance(size, int) or not self.has_free_batch:
            return False
        if axis == 0 or size in self._batch_names:
            return True
        free = [other for other in each.shape if not isinstance(other, int)]
        return size is None and len(free) == 1 and isinstance(each.shape[0], int)  # a state whose axes have no names

    def is_length(self, each: Declared, axis: int) -> bool:
        """Tell whether an axis is free and is a length: the second axis of two, and others of the same name."""
        size = each.shape[axis]
        if isinstance(size, int) or self.is_batch(each, axis):
            return False
        return (len(each.shape), axis) == (2, 1) or size in self._length_names

    @cached_property
    def has_free_batch(self) -> bool:
        """Whether the batch size is free; if the only input has one axis, that may be anything."""
        firsts = [each for each in self.declared if each.shape and not isinstance(each.shape[0], int)]
        return any(len(each.shape) > 1 for each in firsts) or len(firsts) > 1

    @cached_property
    def fixed_batch(self) -> int | None:
        """Batch size that the file fixes; None if it is free, or if no axis is the batch."""
        firsts = {each.shape[0] for each in self.declared if len(each.shape) in BATCHED}
        [*fixed] = [size for size in firsts if isinstance(size, int) and size > 0]
        return fixed[0] if len(firsts) == len(fixed) == 1 and not self.has_free_batch else None

    def batch_axis(self, each: Declared) -> int | None:
        """Return the batch axis of an input; None if it has none."""
        if self.fixed_batch is not None:
            return 0 if each.shape and each.shape[0] == self.fixed_batch else None
        return next((axis for axis in range(len(each.shape)) if self.is_batch(each, axis)), None)

    def has_free_length(self, facts: Mapping[str, InputFacts]) -> bool:
        """Tell whether a sequence has a free length that the plan does not set."""
        return any(
            self.is_length(each, axis)
            for each in self.declared
            for axis in range(len(each.shape))
            if _given(facts, each, axis) is None
        )

    def has_text(self) -> bool:
        """Tell whether a free length is that of ids or masks; any length fits these, unlike a number of features."""
        texts = [each for each in self.declared if each.is_whole]
        return any(self.is_length(each, axis) for each in texts for axis in range(len(each.shape)))

    def misfit(self, batch_size: int) -> str:
        """Explain why the file cannot take a batch size; empty if it can."""
        if self.has_free_batch or batch_size == (self.fixed_batch or 1):
            return ""
        found = f"fixed at {self.fixed_batch}" if self.fixed_batch else "not among the axes of the inputs"
        return f"its batch is {found}, asked for {batch_size}; give --batch-size {self.fixed_batch or 1}"

    def sizes(
        self,
        batch_size: int,
        length: int | None,
        facts: Mapping[str, InputFacts],
        own: Mapping[str, Sequence[int]] | None = None,
    ) -> dict[str, list[int | None]]:
        """Fill in the sizes of the free axes.

        Parameters
        ----------
        batch_size : int
            Size of the batch.
        length : int, optional
            Length of sequences.
        facts : mapping from name to mapping
            ``shape`` of inputs from the plan; it takes precedence over the length.
        own : mapping from name to shape, optional
            Shapes of the arrays in an inputs file, for axes that nothing else sets.

        Returns
        -------
        dict from name to list
            None for axes that are still open.
        """
        filled = {}
        for each in self.declared:
            sizes: list[int | None] = []
            for axis, size in enumerate(each.shape):
                array = (own or {}).get(each.name, ())
                its_own = array[axis] if axis < len(array) else None
                found = [
                    size if isinstance(size, int) else None,
                    batch_size if self.is_batch(each, axis) else None,
                    _given(facts, each, axis),
                    length if self.is_length(each, axis) else None,
                    its_own,
                ]
                sizes.append(next((number for number in found if number is not None), None))
            filled[each.name] = sizes
        return filled

    @cached_property
    def _batch_names(self) -> set[Size]:
        """Names of first axes, without names that an input gives to several of its axes."""
        return {
            each.shape[0]
            for each in self.declared
            if each.shape and isinstance(each.shape[0], str) and each.shape.count(each.shape[0]) == 1
        }

    @cached_property
    def _length_names(self) -> set[Size]:
        seconds = [each.shape for each in self.declared if len(each.shape) == 2 and isinstance(each.shape[1], str)]
        return {shape[1] for shape in seconds} - self._batch_names


def _given(facts: Mapping[str, InputFacts], each: Declared, axis: int) -> int | None:
    """Return the size of an axis in the plan; None if it sets none."""
    shape = facts.get(each.name, {}).get("shape") or []
    return shape[axis] if axis < len(shape) else None


def open_axes(each: Declared, sizes: Sequence[int | None], place: str = "the file") -> str:
    """Write which axes of an input are still open, and how to set them."""
    shape = "x".join("?" if size is None else str(size) for size in sizes)
    example = "x".join("N" if size is None else str(size) for size in sizes)
    what = f"input {each.name!r}: {place} leaves axes of {shape} open"
    return f"{what}; give --shape {each.name}={example}, or --inputs FILE.npz"
