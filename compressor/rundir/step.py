"""The folder of one step of a run: start it, finish it with digests of its files, and check them on resume."""

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

CARD = "README.md"  # rewritten at the end of each run


def record_if_done(folder: Path, key: str, label: str) -> StepRecord | None:
    """Return the record of a step that finished under this key, if its files have not changed; else None.

    The reason why a finished step runs again is printed under ``label``.
    """
    if not (folder / DONE).exists():
        return None
    done = read_sealed(folder / DONE)
    if done is None:
        say(f"{label:<24} {DONE!r} is damaged, running again")
    elif done["key"] != key:
        say(f"{label:<24} settings changed, running again")
    elif changed := first_changed(folder, done["files"]):
        say(f"{label:<24} {changed!r} is missing or has changed, running again")
    else:
        if readable_json(folder / KEY) != key:
            write_json(folder / KEY, key)
        record: StepRecord = done["facts"]
        return record
    return None


def start(folder: Path, key: str, rounds_key: str = "") -> None:
    """Prepare a step's folder: keep unfinished work under this key, and remove all other files of a run.

    If retraining diverged and only its options have changed since, the rounds before it are kept.
    """
    with explained(folder):
        is_resumed = readable_json(folder / KEY) == key or readable_json(folder / DIVERGED) == rounds_key
        if (folder / DONE).exists() or not is_resumed:
            remove(folder)
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / KEY, key)
    (folder / DIVERGED).unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove the files that a step wrote, and its folder if it is then empty.

    ``done.json`` is removed first, so that a crash never leaves a step that looks done.
    """
    (folder / DONE).unlink(missing_ok=True)
    for file in owned.stage_files(folder):
        file.unlink()
    for home in (folder / owned.MODEL_FOLDER, folder):
        if home.is_dir() and not any(home.iterdir()):
            home.rmdir()


def finish(folder: Path, key: str, record: StepRecord, cost: Cost | None = None, temporary: Sequence[str] = ()) -> None:
    """Mark a step as done, with the digests of its files. ``done.json`` is written once all of them are on the disk.

    ``temporary`` lists patterns of files in the folder itself that a finished step does not need. ``cost`` is None for
    the original, which is not a stage.
    """
    with explained(folder):
        files = {str(file.relative_to(folder)): _settled(file) for file in _lasting(folder, temporary)}
        for home in {(folder / name).parent for name in files}:
            sync(home)
    done: Done = {"key": key, "facts": record, "files": files}
    write_sealed(folder / DONE, {**done, **(cost or {})})


def replace_record(folder: Path, record: StepRecord) -> None:
    """Replace the record of a finished step if it differs."""
    done = read_sealed(folder / DONE)
    if done is not None and done["facts"] != record:
        write_sealed(folder / DONE, {**done, "facts": record})


def _lasting(folder: Path, temporary: Sequence[str]) -> Iterator[Path]:
    """Yield the files that no longer change once a step is finished."""
    for file in owned.stage_files(folder):
        is_temporary = file.parent == folder and any(map(file.match, temporary))
        if file.is_file() and not is_temporary and file.name not in (*owned.MARKS, CARD):
            yield file


def _settled(file: Path) -> str:
    """Flush a file to the disk and return its digest."""
    sync(file)
    return file_digest(file)
