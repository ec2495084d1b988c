"""A mirror of the Hub is asked for what makes a checkpoint, and for nothing else."""

import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

COMMIT = "c0ffee" + "0" * 34
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
PROGRAM = """
import sys
from compressor.model.checkpoint import Source, digest, fetch
source = Source(checkpoint=sys.argv[1], task="text-classification")
print(digest(source), *sorted(file.name for file in fetch(source).iterdir()))
"""


class Mirror(BaseHTTPRequestHandler):
    """Serves one folder as the model acme/tiny, at one commit."""

    def __init__(self, folder, *args):
        self.folder = folder
        super().__init__(*args)

    def do_GET(self):
        if self.path.startswith("/api/models/acme/tiny/revision/"):
            self.answer(json.dumps({"id": "acme/tiny", "sha": COMMIT}).encode())
        elif self.path.startswith("/api/models/acme/tiny/tree/"):
            files = [file for file in self.folder.rglob("*") if file.is_file()]
            listed = [{"type": "file", "path": str(f.relative_to(self.folder)), "size": 1, "oid": "0"} for f in files]
            self.answer(json.dumps(listed).encode())
        else:
            self.answer((self.folder / self.path.partition(f"/acme/tiny/resolve/{COMMIT}/")[2]).read_bytes())

    do_HEAD = do_GET  # noqa: N815 - the name that http.server asks for

    def answer(self, content):
        self.send_response(200)
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{len(content)}-{self.path[-20:]}"',
            "Content-Length": str(len(content)),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(bert_folder, tmp_path):
    folder = tmp_path / "acme"
    (folder / "onnx").mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes((bert_folder / name).read_bytes())
    for name in ("pytorch_model.bin", "code.py", "onnx/model.onnx", "onnx/config.json"):
        (folder / name).write_text("never fetched")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Mirror, folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_mirror_gives_the_same_checkpoint_without_pickles_and_code(mirror, bert_folder, tmp_path):
    def fetched(name):
        env = os.environ | {"HF_ENDPOINT": mirror, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", PROGRAM, str(name)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.split()

    digest, *files = fetched("acme/tiny")
    assert files == list(FILES)
    assert digest == fetched(bert_folder)[0]
