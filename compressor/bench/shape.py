"""At what a file is measured: batch size, length and threads; the only place that writes and reads their names."""

import re
from typing import NamedTuple

from .result import Point

NAME = re.compile(r"(\d+)(?:x(\d+))?(?:, (\d+) threads)?")


class Shape(NamedTuple):
    """Batch size, length and threads of one measurement."""

    batch_size: int
    length: int | None = None
    """None where no length is free, as for images."""
    threads: int = 1

    @classmethod
    def of(cls, point: Point) -> "Shape":
        """Give the shape at which an entry of a result was measured."""
        return cls(point["batch_size"], point["length"], point["threads"])

    @classmethod
    def parse(cls, name: str) -> "Shape":
        """Read what `name` writes.

        Raises
        ------
        ValueError
            If the text is no name of a shape.

        Examples
        --------
        >>> Shape.parse("1x32"), Shape.parse("8, 4 threads")
        (Shape(batch_size=1, length=32, threads=1), Shape(batch_size=8, length=None, threads=4))
        """
        match = NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"{name!r} is not the name of a shape, such as 1x32 or 8")
        batch_size, length, threads = match.groups()
        return cls(int(batch_size), int(length) if length else None, int(threads or 1))

    @property
    def size(self) -> "Shape":
        """The same on one thread: FLOPs and instructions do not depend on the threads."""
        return self._replace(threads=1)

    @property
    def name(self) -> str:
        """Batch size x length, or the batch size alone; the threads where there are several.

        Examples
        --------
        >>> Shape(1, 32).name, Shape(8, None, 4).name
        ('1x32', '8, 4 threads')
        """
        size = f"{self.batch_size}x{self.length}" if self.length else str(self.batch_size)
        return size if self.threads == 1 else f"{size}, {self.threads} threads"
