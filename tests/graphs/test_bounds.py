"""Bounds of ids and lengths: of every text family against its config and onnxruntime itself, and of foreign files."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_files import exported, write
from tiny import TINY, tiny

from compressor.errors import InputError
from compressor.graphs import bounds

TEXTS = [family for family, config in TINY.items() if "vocab_size" in config]
FAST = ("bert", "roberta")
WITHOUT_POSITIONS = ("llama", "mistral", "modernbert", "mt5", "phi3", "qwen2", "qwen3", "t5")  # rotated, or relative
END = np.array([[2]])
AFTER_PADDING = {"roberta": 1}  # its positions start behind the token that pads, number 0 here


def families(few=FAST):
    return [family if family in few else pytest.param(family, marks=pytest.mark.slow) for family in TEXTS]


def run(file, length):
    """Run a file on a text of plain tokens and one that ends it, where encoder-decoders read."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    plain = {"attention_mask": 1, "token_type_ids": 0}
    inputs = {each.name: np.full((1, length), plain.get(each.name, 5), np.int64) for each in session.get_inputs()}
    inputs |= {name: np.concatenate([array[:, 1:], END], axis=1) for name, array in inputs.items() if name not in plain}
    return session.run(None, inputs)


def fails(file, length):
    try:
        run(file, length)
    except Exception:  # onnxruntime's classes share no base
        return True
    return False


@pytest.mark.parametrize("family", families())
def test_every_family_against_its_config_and_onnxruntime(family, tmp_path):
    net = tiny(family)
    facts = {"input_ids": {"below": net.config.vocab_size}}
    if n_segments := getattr(net.config, "type_vocab_size", 0):
        facts["token_type_ids"] = {"below": n_segments}
    for file in exported(net, tmp_path / "model"):
        assert bounds.input_facts(file) == facts
        longest = bounds.max_length(file)
        if family in WITHOUT_POSITIONS:
            assert longest is None
            assert not fails(file, 150)
        else:
            assert longest is not None
            assert longest == net.config.max_position_embeddings - AFTER_PADDING.get(family, 0)
            assert not fails(file, longest)
            assert fails(file, longest + 1)


TABLE = np.zeros((50, 4), np.float32)
QUANTIZED: dict[str, Any] = {"t": np.zeros((50, 4), np.int8), "s": np.float32(0.1), "z": np.int8(0)}
NUMBERS: dict[str, Any] = {"flat": [-1], "zero": [0], "one": [1], "two": [2], "nought": 0, "unit": 1}
LOOKUPS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("y = Gather (t, ids)", {"t": TABLE}),
    "of exporters": (
        '"onnx::Gather_7" = Cast <to = 6> (ids) "/emb/Gather_out" = Gather ("onnx::Gather_3", "onnx::Gather_7")'
        'y = Relu ("/emb/Gather_out")',
        {"onnx::Gather_3": TABLE},
    ),
    "reshaped": ("i = Reshape (ids, flat) j = Unsqueeze (i, zero) y = Gather (t, j)", {"t": TABLE}),
    "cut, joined": ("i = Slice (ids, zero, one, one) j = Concat <axis = 1> (i, ids) y = Gather (t, j)", {"t": TABLE}),
    "chosen": ("m = Equal (ids, zero) i = Where (m, one, ids) y = Gather (t, i)", {"t": TABLE}),
    "quantized before": ("w = DequantizeLinear (t, s, z) y = Gather (w, ids)", QUANTIZED),
    "quantized after": ("g = Gather (t, ids) y = DequantizeLinear (g, s, z)", QUANTIZED),
    "half": ("w = Cast <to = 1> (t) y = Gather (w, ids)", {"t": TABLE.astype(np.float16)}),
    "transposed": ("w = Transpose (t) y = Gather (w, ids)", {"t": TABLE.T}),
    "second axis": ("y = Gather <axis = 1> (t, ids)", {"t": TABLE.T}),
    "two tables": ("a = Gather (u, ids) b = Gather (t, ids) y = Add (a, b)", {"t": TABLE, "u": np.tile(TABLE, (2, 1))}),
}


@pytest.mark.parametrize("is_beside", [False, True], ids=["inside", "beside"])
@pytest.mark.parametrize("name", LOOKUPS)
def test_lookups_of_foreign_files(name, is_beside, tmp_path):
    body, weights = LOOKUPS[name]
    text = f"g (int64[batch, length] ids) => (float[a, b, c] y) {{ {body} }}"
    file = write(tmp_path / "graph.onnx", text, weights | NUMBERS)
    if is_beside:
        onnx.save(onnx.load(file), file, save_as_external_data=True, location="weights", size_threshold=100)
    assert bounds.input_facts(file) == {"ids": {"below": 50}}
    assert bounds.max_length(file) is None
    onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])  # it is a file that runs


@pytest.mark.parametrize(
    "body",
    [
        "f = Cast <to = 1> (ids) y = Relu (f)",
        "i = Mul (ids, two) y = Gather (t, i)",  # ids below 25 would do, but what is computed is not followed
        "f = Cast <to = 1> (ids) y = Gather (f, ids)",
    ],
)
def test_inputs_that_look_up_no_table(body, tmp_path):
    file = write(tmp_path / "graph.onnx", f"g (int64[batch, length] ids) => (y) {{ {body} }}", NUMBERS | {"t": TABLE})
    assert bounds.input_facts(file) == {}


TOKENS = "s = Shape <start = 1> (ids) e = Gather (t, ids) n = Squeeze (s)"
POSITIONS = {
    "counted": (f"{TOKENS} i = Range (nought, n, unit) p = Gather (places, i) y = Add (e, p)", 20),
    "behind two rows": (
        f"{TOKENS} i = Range (nought, n, unit) j = Add (i, two) p = Gather (places, j) y = Add (e, p)",
        18,
    ),
    "cut out of a list": (f"{TOKENS} i = Slice (list, zero, s, one) p = Gather (places, i) y = Add (e, p)", 20),
    "cut out of the table": (f"{TOKENS} p = Slice (places, zero, s, zero) y = Add (e, p)", 20),
    "by the mask": (
        "e = Gather (t, ids) m = Cast <to = 6> (attention_mask) c = CumSum (m, unit) d = Cast <to = 7> (c)"
        "i = Sub (d, one) p = Gather (places, i) y = Add (e, p)",
        20,
    ),
    "a causal mask": (
        f"{TOKENS} r = Slice (square, zero, s, zero) m = Slice (r, zero, s, one) y = MatMul (m, e)",
        30,
    ),
    "near ones alone": (
        f"{TOKENS} i = Range (nought, n, unit) j = Min (i, nineteen) p = Gather (places, j) y = Add (e, p)",
        None,
    ),
    "two tables": (
        f"{TOKENS} i = Range (nought, n, unit) p = Gather (places, i) q = Gather (more, i) y = Sum (e, p, q)",
        15,
    ),
    "an input": ("e = Gather (t, ids) p = Gather (places, places_of) y = Add (e, p)", None),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_lengths_of_foreign_files(name, tmp_path):
    """Named as bad as can be; onnxruntime runs each at its longest, and fails at one more."""
    body, longest = POSITIONS[name]
    weights = {
        "t": TABLE,
        "places": np.zeros((20, 4), np.float32),
        "more": np.zeros((15, 4), np.float32),
        "list": np.arange(20)[None],
        "square": np.zeros((30, 30), np.float32),
        "nineteen": 19,
    }
    inputs = ", ".join(f"int64[batch, length] {each}" for each in ("ids", "attention_mask", "places_of"))
    text = f"g ({inputs}) => (float[a, b, c] y) {{ {body} }}"
    file = write(tmp_path / "graph.onnx", text, weights | NUMBERS)
    assert bounds.max_length(file) == longest
    assert fails(file, longest + 1) if longest else not fails(file, 200)
    assert not fails(file, longest or 50)


def test_of_several_files_the_smallest(tmp_path):
    text = "g (int64[batch, length] ids) => (y) { " + POSITIONS["counted"][0] + "}"
    files = [
        write(tmp_path / f"{n}.onnx", text, NUMBERS | {"t": TABLE[:n], "places": np.zeros((m, 4), np.float32)})
        for n, m in ((40, 12), (30, 20))
    ]
    assert bounds.input_facts(*files) == {"ids": {"below": 30}}
    assert bounds.max_length(*files) == 12


def test_axes_that_are_free_may_be_written_as_minus_one(tmp_path):
    """onnxruntime takes them for free."""
    text = "g (int64[batch, length] ids) => (y) { " + POSITIONS["counted"][0] + "}"
    file = write(tmp_path / "graph.onnx", text, NUMBERS | {"t": TABLE, "places": np.zeros((20, 4), np.float32)})
    proto = onnx.load(file)
    for axis in proto.graph.input[0].type.tensor_type.shape.dim:
        axis.dim_value = -1
    onnx.save(proto, file)
    assert bounds.max_length(file) == 20
    assert not fails(file, 20)
    assert fails(file, 21)


def test_an_input_of_no_type_is_one_line(tmp_path):
    text = "g (int64[batch, length] ids) => (y) { " + POSITIONS["counted"][0] + "}"
    proto = onnx.load(write(tmp_path / "g.onnx", text, NUMBERS | {"t": TABLE, "places": np.zeros((20, 4), np.float32)}))
    proto.graph.input[0].type.tensor_type.elem_type = 0
    onnx.save(proto, tmp_path / "g.onnx")
    with pytest.raises(InputError, match="'ids' has no known type"):
        bounds.max_length(tmp_path / "g.onnx")


def test_a_fixed_length_has_no_bound(tmp_path):
    text = "g (int64[batch, 20] ids) => (y) { " + POSITIONS["counted"][0] + "}"
    file = write(tmp_path / "graph.onnx", text, NUMBERS | {"t": TABLE, "places": np.zeros((20, 4), np.float32)})
    assert bounds.input_facts(file) == {"ids": {"below": 50}}
    assert bounds.max_length(file) is None


@pytest.mark.parametrize("kind", ["", "Q"])
def test_tables_within_an_operation_of_onnxruntime(kind, tmp_path):
    tables = {"t": TABLE, "places": np.zeros((20, 4), np.float32), "kinds": np.zeros((2, 4), np.float32)}
    quantized = {name: table.astype(np.uint8) for name, table in tables.items()}
    text = f"""g (int32[n, length] ids, int32[n, length] segments) => (y) {{
        y, m = com.microsoft.{kind}EmbedLayerNormalization (ids, segments, t, places, kinds, w, w)
    }}"""
    file = write(tmp_path / "graph.onnx", text, (quantized if kind else tables) | {"w": np.ones(4, np.float32)})
    assert bounds.input_facts(file) == {"ids": {"below": 50}, "segments": {"below": 2}}
    assert bounds.max_length(file) == 20


def test_positions_that_are_an_input_of_an_operation_of_onnxruntime(tmp_path):
    tables = {"t": TABLE, "places": np.zeros((20, 4), np.float32), "w": np.ones(4, np.float32)}
    text = """g (int32[n, length] ids, int32[n, length] at) => (y) {
        y, m = com.microsoft.EmbedLayerNormalization (ids, , t, places, , w, w, , at)
    }"""
    file = write(tmp_path / "graph.onnx", text, tables)
    assert bounds.input_facts(file) == {"ids": {"below": 50}, "at": {"below": 20}}
    assert bounds.max_length(file) is None


def test_a_file_that_is_damaged(tmp_path):
    (tmp_path / "graph.onnx").write_bytes(b"no graph at all")
    for find in (bounds.input_facts, bounds.max_length):
        with pytest.raises(InputError, match="not a readable ONNX file"):
            find(tmp_path / "graph.onnx")
