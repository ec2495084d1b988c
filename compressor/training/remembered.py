"""The teacher's outputs on every training example, computed once and looked up in a file of the run.

Hidden states are most of it: a gigabyte and more for a data set of short sentences. They are gathered from the mapped
file, whose pages are given back after each batch, so that they take disk, and no memory that the system cannot reclaim.
"""

import mmap
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from compressor.errors import RunDirError
from compressor.files import explained, file_digest, is_intact, read_sealed, write_sealed
from compressor.progress import say
from compressor.rundir import owned
from compressor.training.losses import Answer

GB = 1e9
Packed = tuple[Tensor, Tensor, Tensor, Tensor]
"""Indices of examples, their logits, their states without padding, and the positions of each example."""


@dataclass(frozen=True)
class AnswerFiles:
    """The files of one teacher's outputs in a run directory."""

    folder: Path
    key: str
    """Hash of everything that the outputs depend on."""

    @property
    def states(self) -> Path:
        """Hidden states in bfloat16, one position after the other."""
        return self.folder / owned.TEACHER_STATES

    @property
    def logits(self) -> Path:
        """The logits, and where the states of each example lie."""
        return self.folder / owned.TEACHER_LOGITS

    @property
    def mark(self) -> Path:
        """Key and digests; written last."""
        return self.folder / owned.TEACHER_MARK

    def are_complete(self) -> bool:
        """Whether both files are there as they were written, under this very key."""
        mark = read_sealed(self.mark)
        if mark is None or mark["key"] != self.key:
            return False
        return all(is_intact(self.folder / name, digest) for name, digest in mark["files"].items())

    def require_room(self, n_bytes: int) -> None:
        """Refuse states for which the disk is too small."""
        free = shutil.disk_usage(self.folder).free
        if n_bytes > free:
            what = f"the teacher's outputs take {n_bytes / GB:.1f} GB, the disk has {free / GB:.1f} GB free"
            raise RunDirError(f"{self.folder}: {what}; free some space, or choose another --run-dir")

    def write(self, parts: Iterable[Packed], n_examples: int) -> None:
        """Write the outputs as they are computed."""
        remove(self.folder)  # rather than write over files that may still be mapped
        lengths, starts = torch.ones(n_examples, dtype=torch.long), torch.zeros(n_examples, dtype=torch.long)
        logits, end = torch.empty(0), 0
        with explained(self.folder), self.states.open("wb") as stream:
            for indices, of_part, states, n_positions in parts:
                if end == 0:
                    logits = of_part.new_empty(n_examples, of_part.shape[1])
                logits[indices], lengths[indices] = of_part, n_positions
                starts[indices] = end + n_positions.cumsum(0) - n_positions
                end += len(states)
                stream.write(states.contiguous().view(torch.uint8).numpy().data)
        shape = torch.tensor([end, *states.shape[1:]])
        with explained(self.folder):
            save_file({"logits": logits, "lengths": lengths, "starts": starts, "shape": shape}, self.logits)
            files = {file.name: file_digest(file) for file in (self.states, self.logits)}
        write_sealed(self.mark, {"key": self.key, "files": files})


class RememberingTeacher:
    """Looks up the outputs that another teacher computed; the pages of the file do not stay in memory."""

    def __init__(self, files: AnswerFiles) -> None:
        saved = load_file(files.logits)
        self.logits, self.lengths, self.starts = saved["logits"], saved["lengths"], saved["starts"]
        shape = saved["shape"].tolist()
        with files.states.open("r+b") as stream:
            self.map = mmap.mmap(stream.fileno(), 0) if files.states.stat().st_size else None
        self.states = (
            torch.empty(shape) if self.map is None else torch.frombuffer(self.map, dtype=torch.bfloat16).view(shape)
        )

    def answer(self, batch: Mapping[str, Tensor], indices: Tensor) -> Answer:
        """Look up the original model's outputs on these examples."""
        lengths = self.lengths[indices, None]
        position = torch.arange(int(lengths.max())).minimum(lengths - 1)  # padding repeats the last one, and is masked
        states = self.states[self.starts[indices, None] + position]
        if self.map is not None:
            self.map.madvise(mmap.MADV_DONTNEED)
        device = next(iter(batch.values())).device
        return Answer(self.logits[indices].to(device), list(states.to(device).unbind(dim=2)), {})


def remembering(files: AnswerFiles, parts: Iterator[Packed], n_examples: int, n_bytes: int) -> RememberingTeacher:
    """Give the teacher of these files, which are written first unless an interrupted run left them complete.

    Parameters
    ----------
    files : AnswerFiles
        Where the outputs lie.
    parts : iterator
        Computes the outputs, batch by batch; not touched if they are there.
    n_examples : int
        Examples of the split.
    n_bytes : int
        Size of all hidden states.

    Raises
    ------
    RunDirError
        If the disk is too small; nothing is written then.
    """
    if files.are_complete():
        say(f"{'teacher outputs':<24} computed before")
    else:
        remove(files.folder)
        files.require_room(n_bytes)
        files.write(parts, n_examples)
    return RememberingTeacher(files)


def remove(folder: Path) -> None:
    """Remove the files of any teacher; the mark first, so that the rest never looks complete."""
    for name in reversed(owned.TEACHER_FILES):
        (folder / name).unlink(missing_ok=True)
