"""Spoil every file of a run in three ways, resume the run each time, and count what became of it.

Run: PYTHONPATH=tests python tests/pipeline/spoil_every_file.py FOLDER [finished|stopped]
The folder gets a small run with every kind of stage: a finished one, and one that was stopped before its last
distillation, so that the teacher's outputs lie there. results.jsonl gets a line for each spoiled file. The same command
goes on after what stands there; it ends with 1 if any file was not healed. Without a second word it takes both runs.
"""

import contextlib
import io
import json
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from unittest.mock import patch

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}

import run_files
import text_files
import torch

from compressor import cli
from compressor.measure import launch
from compressor.model import Model
from compressor.rundir import owned
from compressor.stages import finetune
from compressor.training.context import Context

INTERRUPTED = 130
RECIPE = """\
model: {{checkpoint: {checkpoint}, task: text-classification}}
data: {{dataset: {dataset}, held_out: 0.1}}
stages:
  - stage: drop_layers
    keep: [0]
  - stage: project
    column_sparsity: 0.5
    rounds: 2
    retrain: {{steps: 3, batch_size: 8, lr: 1.0e-3, distill: {{logits: 0.7, hidden_states: 1.0}}}}
  - stage: shrink
  - stage: finetune
    retrain: {{steps: 5, batch_size: 8, lr: 1.0e-3, distill: {{logits: 0.7, hidden_states: 1.0}}}}
  - stage: trim_vocabulary
  - stage: export
  - stage: quantize
bench: {{lengths: [8], meter: none}}
"""


def main(home, states):
    """Spoil what has not been spoiled yet, and print the counts."""
    torch.set_num_threads(1)
    recipe, run, results = home / "recipe.yaml", home / "finished" / "run", home / "results.jsonl"
    if not recipe.exists():
        home.mkdir(parents=True, exist_ok=True)
        places = {"checkpoint": text_files.bert(home / "bert"), "dataset": text_files.reviews(home / "reviews.csv")}
        recipe.write_text(RECIPE.format(**places))
    code, line = resume(recipe, run)
    assert code == 0, line
    stop(recipe, home / "stopped" / "run")
    expected, measured = run_files.contents(run), (run / "bench.json").read_text()
    cases = [case for state in states for case in cases_of(home, state)]
    lines = results.read_text().splitlines() if results.exists() else []
    done = {(each["run"], each["file"], each["way"]): each for each in map(json.loads, lines)}
    with patch.object(launch, "measure", lambda plan: json.loads(measured)):  # the bench takes seconds
        for index, case in enumerate(cases):
            if case not in done:
                state, name, way = case
                done[case] = tried(state, name, way, recipe, home, expected)
                with results.open("a") as stream:
                    stream.write(json.dumps(done[case]) + "\n")
                sys.stdout.write(f"{index + 1}/{len(cases)} {done[case]}\n")
                sys.stdout.flush()
    outcomes = Counter(done[case]["outcome"] for case in cases)
    sys.stdout.write(f"{len(cases)} spoiled files: {dict(outcomes)}\n")
    return 0 if set(outcomes) == {"healed"} else 1


def stop(recipe, run):
    """Run the recipe up to the stage of the last distillation, and leave the teacher's outputs there."""
    if not run.exists():
        with contextlib.suppress(KeyboardInterrupt), patch.object(finetune, "run", interrupted):
            resume(recipe, run)
    assert all((run / name).exists() for name in owned.TEACHER_FILES)


def interrupted(model: Model, options: finetune.Options, context: Context) -> Model:
    """Stop the run as Ctrl-C would; the dry walk before it goes on."""
    if not context.is_dry:
        raise KeyboardInterrupt
    return model


def cases_of(home, state):
    """List the files of a run and how each is to be spoiled; the teacher's first."""
    run = home / state / "run"
    files = sorted(run_files.present(run), key=lambda file: file.name not in owned.TEACHER_FILES)
    return [(state, str(file.relative_to(run)), way) for file in files for way in run_files.WAYS]


def tried(state, name, way, recipe, home, expected):
    """Spoil one file of a copy, resume, and compare all files with those of the undisturbed run."""
    copy = home / "copy" / "run"  # a report has the name of its folder
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(home / state / "run", copy)
    run_files.spoil(copy / name, way)
    began = time.monotonic()
    code, line = resume(recipe, copy)
    seconds = round(time.monotonic() - began, 1)
    unlike = run_files.unlike(copy, expected) if code == 0 else []
    outcome = "refused" if code else "not healed" if unlike else "healed"
    found = {"outcome": outcome, "line": line, "unlike": unlike, "seconds": seconds}
    return {"run": state, "file": name, "way": way, **found}


def resume(recipe, run):
    """Run the command in this process; give its exit code, and its last line if it failed."""
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        code = cli.main(["--recipe", str(recipe), "--run-dir", str(run), "--json"])
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code, said.getvalue().strip().rpartition("\n")[2] if code else ""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:] or ["stopped", "finished"]))
