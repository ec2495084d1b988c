"""Spoil every file of a finished run in three ways, resume the run each time, and count what became of it.

Run: PYTHONPATH=tests python tests/pipeline/spoil_every_file.py FOLDER
The folder gets a small run with every kind of stage, and results.jsonl with a line for each spoiled file. The same
command goes on after what stands there; it ends with 1 if any file was not healed.
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
    retrain: {{steps: 2, batch_size: 8, lr: 1.0e-3, distill: {{logits: 0.7}}}}
  - stage: shrink
  - stage: finetune
    retrain: {{steps: 2, batch_size: 8, lr: 1.0e-3}}
  - stage: trim_vocabulary
  - stage: export
  - stage: quantize
bench: {{lengths: [8], meter: none}}
"""


def main(home):
    """Spoil what has not been spoiled yet, and print the counts."""
    torch.set_num_threads(1)
    recipe, run, results = home / "recipe.yaml", home / "run", home / "results.jsonl"
    if not recipe.exists():
        home.mkdir(parents=True, exist_ok=True)
        places = {"checkpoint": text_files.bert(home / "bert"), "dataset": text_files.reviews(home / "reviews.csv")}
        recipe.write_text(RECIPE.format(**places))
    code, line = resume(recipe, run)
    assert code == 0, line
    expected, measured = run_files.contents(run), (run / "bench.json").read_text()
    cases = [(str(file.relative_to(run)), way) for file in run_files.present(run) for way in run_files.WAYS]
    lines = results.read_text().splitlines() if results.exists() else []
    done = {(each["file"], each["way"]): each for each in map(json.loads, lines)}
    with patch.object(launch, "measure", lambda plan: json.loads(measured)):  # the bench takes seconds
        for index, case in enumerate(cases):
            if case not in done:
                done[case] = tried(*case, recipe, run, expected)
                with results.open("a") as stream:
                    stream.write(json.dumps(done[case]) + "\n")
                sys.stdout.write(f"{index + 1}/{len(cases)} {done[case]}\n")
                sys.stdout.flush()
    outcomes = Counter(done[case]["outcome"] for case in cases)
    sys.stdout.write(f"{len(cases)} spoiled files: {dict(outcomes)}\n")
    return 0 if set(outcomes) == {"healed"} else 1


def tried(name, way, recipe, run, expected):
    """Spoil one file of a copy, resume, and compare all files with those of the undisturbed run."""
    copy = run.parent / "copy" / run.name  # a report has the name of its folder
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    run_files.spoil(copy / name, way)
    began = time.monotonic()
    code, line = resume(recipe, copy)
    seconds = round(time.monotonic() - began, 1)
    unlike = run_files.unlike(copy, expected) if code == 0 else []
    outcome = "refused" if code else "not healed" if unlike else "healed"
    return {"file": name, "way": way, "outcome": outcome, "line": line, "unlike": unlike, "seconds": seconds}


def resume(recipe, run):
    """Run the command in this process; give its exit code, and its last line if it failed."""
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        code = cli.main(["--recipe", str(recipe), "--run-dir", str(run), "--json"])
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code, said.getvalue().strip().rpartition("\n")[2] if code else ""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
