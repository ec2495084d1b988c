"""The files that a run wrote: no others are ever removed, hashed or overwritten."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from compressor.errors import RunDirError, listed
from compressor.files import PARTIAL, readable_json

LOCK, FACTS = "lock", "run.json"
HOLDER = "process "  # what a lock of ours begins with
FOLDERS = ("original", "report", "[0-9][0-9]-[a-z]*")
TEACHER_STATES, TEACHER_LOGITS, TEACHER_MARK = "teacher-states.bin", "teacher-logits.safetensors", "teacher.json"
TEACHER_FILES = (TEACHER_STATES, TEACHER_LOGITS, TEACHER_MARK)
BENCH_FILES = ("bench.json", "bench-plan.json", "bench-key.json")
COSTS = "costs.json"
RUN_FILES = ("recipe.yaml", "run.json", *BENCH_FILES, *TEACHER_FILES, COSTS, "traceback.txt")
MODEL_FOLDER = "model"  # of a stage: the network that it left
MARKS = ("key.json", "done.json", "diverged.json")
JOURNAL = ("rounds.jsonl", "round.json", "step.json", *(f"{what}-*.safetensors" for what in ("round", "state", "step")))
RESULTS = (
    "surgery.json",
    "factorized.json",
    "operations.json",
    "sensitivity.json",
    "choice.json",
    "target.json",
    "parity.json",
    "export.json",
    "README.md",
    "model*.onnx",
    "model*.onnx.data",
)
NETWORK = ("config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json")
PROCESSOR = (
    *("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab*.json", "vocab*.txt", "merges.txt"),
    *("*.model", "*.spm", "bpe.codes", "chat_template.*", "preprocessor_config.json", "processor_config.json"),
)
STAGE_FILES = (*MARKS, *JOURNAL, *RESULTS, *NETWORK, *PROCESSOR)


def require_ours(path: Path) -> None:
    """Refuse a folder that contains files but no run, and a run that has links in place of folders.

    A run that was killed before it wrote ``run.json`` is recognized by its lock file.
    """
    names = sorted(each.name for each in path.iterdir()) if path.is_dir() else []
    foreign = [name for name in names if name != LOCK and not _is_partial(name, RUN_FILES)]
    if foreign and not _has_run(path):
        what = f"contains {listed(foreign, most=3)}, which no run wrote"
        raise RunDirError(f"{path}: {what}; choose another --run-dir, or an empty folder")
    for folder in _folders(path):
        if folder.is_symlink() or not folder.is_dir():
            raise RunDirError(f"{folder}: should be a folder of the run, is a link or a file; move it away")
        for inner in folder.iterdir():
            if inner.is_dir() and _matches(inner.name, STAGE_FILES):
                raise RunDirError(f"{inner}: a folder in the place of a file of this run; move it away")


def stage_files(folder: Path) -> Iterator[Path]:
    """Yield the files that a stage wrote into its folder, complete or partial; other files there are the user's."""
    for home in (folder, folder / MODEL_FOLDER):
        for file in sorted(home.iterdir()) if home.is_dir() and not home.is_symlink() else ():
            is_file = file.is_symlink() or not file.is_dir()
            if is_file and (_matches(file.name, STAGE_FILES) or _is_partial(file.name, STAGE_FILES)):
                yield file


def clean(path: Path) -> None:
    """Remove the files that a killed run left partly written."""
    for folder in (path, *_folders(path)):
        known = RUN_FILES if folder == path else (*STAGE_FILES, "report.json", "index.html")
        for home in (folder, folder / MODEL_FOLDER):
            for file in home.glob(f".*{PARTIAL}*") if home.is_dir() else ():
                if _is_partial(file.name, known):
                    file.unlink()


def _has_run(path: Path) -> bool:
    facts = readable_json(path / FACTS)
    lock = path / LOCK
    is_held = lock.is_file() and lock.read_bytes()[: len(HOLDER)] == HOLDER.encode()
    return is_held or (isinstance(facts, dict) and {"format", "recipe_digest"} <= facts.keys())


def _folders(path: Path) -> list[Path]:
    """List the folders of the run, and the folders of networks in them."""
    own = [each for each in (path.iterdir() if path.is_dir() else ()) if _matches(each.name, FOLDERS)]
    inner = [folder / MODEL_FOLDER for folder in own if folder.is_dir()]
    return [*own, *(folder for folder in inner if folder.exists() or folder.is_symlink())]


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _is_partial(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a name is that of a temporary file of `files.replacing`, or of a library's temporary file beside it."""
    whole = name.removeprefix(".").partition(PARTIAL)[0]
    return name.startswith(".") and PARTIAL in name and _matches(whole, patterns)
