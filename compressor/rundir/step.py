"""The folder of one step of a run: begun, finished with the digests of its files, and checked when the run resumes."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from compressor.files import (
    explained,
    file_digest,
    first_changed,
    read_sealed,
    readable_json,
    sync,
    write_json,
    write_sealed,
)
from compressor.progress import say
from compressor.rundir import DIVERGED, DONE, KEY, Cost, Done, StepRecord, owned

CARD = "README.md"  # written again at the end of each run


def record_if_done(folder: Path, key: str, label: str) -> StepRecord | None:
    """Return the record of a step that was finished under this very key, if its files are as it wrote them.

    If not, a line under ``label`` says why it runs again.
    """
    if not (folder / DONE).exists():
        return None
    done = read_sealed(folder / DONE)
    if done is None:
        say(f"{label:<24} {DONE!r} is damaged, running again")
    elif done["key"] != key:
        say(f"{label:<24} settings changed, running again")
    elif changed := first_changed(folder, done["files"]):
        say(f"{label:<24} {changed!r} is missing or not as it was written, running again")
    else:
        if readable_json(folder / KEY) != key:
            write_json(folder / KEY, key)
        record: StepRecord = done["facts"]
        return record
    return None


def start(folder: Path, key: str, rounds_key: str = "") -> None:
    """Prepare a step's folder: keep unfinished work under this key, and remove all else that a run wrote.

    Rounds are kept if retraining diverged after them and only the retraining options changed.
    """
    with explained(folder):
        is_resumed = readable_json(folder / KEY) == key or readable_json(folder / DIVERGED) == rounds_key
        if (folder / DONE).exists() or not is_resumed:
            remove(folder)
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / KEY, key)
    (folder / DIVERGED).unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove the files that a step wrote, and its folder if nothing else is in it.

    The mark is removed first, so that the rest never looks done after a crash.
    """
    (folder / DONE).unlink(missing_ok=True)
    for file in owned.stage_files(folder):
        file.unlink()
    for home in (folder / owned.MODEL_FOLDER, folder):
        if home.is_dir() and not any(home.iterdir()):
            home.rmdir()


def finish(folder: Path, key: str, record: StepRecord, cost: Cost | None = None, temporary: Sequence[str] = ()) -> None:
    """Mark a step as done, with the digests of its files; written last, when all of them are on the disk.

    ``temporary`` are patterns of files in the folder itself that a finished step does not need. The original is no
    stage, and has no cost.
    """
    with explained(folder):
        files = {str(file.relative_to(folder)): _settled(file) for file in _lasting(folder, temporary)}
        for home in {(folder / name).parent for name in files}:
            sync(home)
    done: Done = {"key": key, "facts": record, "files": files}
    write_sealed(folder / DONE, {**done, **(cost or {})})


def replace_record(folder: Path, record: StepRecord) -> None:
    """Replace the record of a finished step where it differs."""
    done = read_sealed(folder / DONE)
    if done is not None and done["facts"] != record:
        write_sealed(folder / DONE, {**done, "facts": record})


def _lasting(folder: Path, temporary: Sequence[str]) -> Iterator[Path]:
    """Yield the files that a finished step keeps as they are."""
    for file in owned.stage_files(folder):
        is_temporary = file.parent == folder and any(map(file.match, temporary))
        if file.is_file() and not is_temporary and file.name not in (*owned.MARKS, CARD):
            yield file


def _settled(file: Path) -> str:
    """Wait until a file is on the disk, and hash it."""
    sync(file)
    return file_digest(file)
