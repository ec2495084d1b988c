"""How the inputs of a linear layer meet its factors: one matrix product after another, in the cheapest order."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from compressor.factorizations import Equation

MOST_ORDERED = 6  # factors of a term whose orders are all tried; of more, the neighbours in their own order


@dataclass(frozen=True)
class Step:
    """One product: the letters of what was computed so far and of the next factor, by what becomes of them."""

    factor: int
    """Index among the factors of the equation."""
    batch: str
    """In both, and still needed: one product for each of their values."""
    kept: str
    """Only in what was computed."""
    summed: str
    """In both, and summed over."""
    new: str
    """Only in the factor."""
    single: str = ""
    """Only in the factor, and in nothing after it: the ends of a train, of size 1."""

    def layout(self) -> str:
        """Letters of the factor's axes as the product takes them: (new, summed), or (batch, summed, new)."""
        return (self.batch + self.summed + self.new if self.batch else self.new + self.summed) + self.single

    def result(self) -> str:
        """Letters of what the product gives."""
        return self.batch + self.kept + self.new

    def n_multiplications(self, sizes: Mapping[str, int]) -> int:
        """Count the multiplications for one token."""
        return math.prod(sizes[letter] for letter in self.batch + self.kept + self.summed + self.new)


def plan(equation: Equation, sizes: Mapping[str, int]) -> list[list[Step]]:
    """Order the products of each term of a matrix that is applied to vectors, to take the fewest multiplications.

    Parameters
    ----------
    equation : Equation
        Of a matrix: two axes, the outputs and the inputs of the layer.
    sizes : mapping of str to int
        Size of each letter.

    Returns
    -------
    list of list of Step
        The products of each term.

    Raises
    ------
    ValueError
        If the equation is not that of a matrix, or a factor shares no letter with the others.
    """
    if len(equation.axes) != 2:
        raise ValueError(f"equation: a layer needs a matrix, got {len(equation.axes)} axes")
    _check_ends(equation, sizes)
    first, steps = 0, []
    for term in equation.terms:
        ways = [way for order in _orders(len(term)) if (way := list(_way(term, order, first, equation.axes)))]
        if not ways:
            raise ValueError(f"equation: the factors {', '.join(term)} are not connected")
        steps.append(min(ways, key=lambda way: sum(step.n_multiplications(sizes) for step in way)))
        first += len(term)
    return steps


def _check_ends(equation: Equation, sizes: Mapping[str, int]) -> None:
    for term in equation.terms:
        everything = "".join((*term, *equation.axes))
        for letter in everything:
            if everything.count(letter) == 1 and sizes[letter] != 1:
                raise ValueError(f"equation: {letter!r} of {', '.join(term)} is in nothing else, so its size must be 1")


def _orders(n_factors: int) -> Iterable[Sequence[int]]:
    if n_factors <= MOST_ORDERED:
        return permutations(range(n_factors))
    return [range(n_factors), range(n_factors - 1, -1, -1)]


def _way(term: Sequence[str], order: Sequence[int], first: int, axes: tuple[str, ...]) -> Iterator[Step]:
    """Yield the products in one order; none if a factor comes before what it reads."""
    rows, state = axes
    steps = []
    for place, index in enumerate(order):
        letters, later = term[index], rows + "".join(term[other] for other in order[place + 1 :])
        shared = [letter for letter in state if letter in letters]
        if not shared:
            return
        step = Step(
            first + index,
            "".join(letter for letter in shared if letter in later),
            "".join(letter for letter in state if letter not in letters),
            "".join(letter for letter in shared if letter not in later),
            "".join(letter for letter in letters if letter not in state and letter in later),
            "".join(letter for letter in letters if letter not in state and letter not in later),
        )
        steps.append(step)
        state = step.result()
    yield from steps
