"""The names that others import; a change here is a change for them, and belongs in CHANGELOG.md."""

import importlib
import subprocess
import sys

import pytest

import compressor

PUBLIC = {
    "compressor": "Recipe __version__ balls check load load_recipe run surgery",
    "compressor.balls": "Ball ColumnBall Coupled radius_for",
    "compressor.constraints": "Constraint ConstraintSet",
    "compressor.data": "Dataset open_dataset prepare",
    "compressor.factorizations": (
        "Equation Factorization Factors KernelFactorization Metric Rank default_form diagonal expanded fisher "
        "for_kernels second_moment"
    ),
    "compressor.model": "Model OnnxGraph Source Task load load_model logits_of open_model outputs_of save_model",
    "compressor.nn": (
        "FACTORIZED Factorized FactorizedConv2d FactorizedEmbedding FactorizedLinear Operation from_spec"
    ),
    "compressor.recipe": "Recipe dump load_recipe parse",
    "compressor.surgery": (
        "Constant Cut Example Family Kind Side Width column_sparsity columns constants cuttable dead_units described "
        "factorized find_widths holds is_match left_out n_params new_biases prove_equal replace_ resize_ restore_ "
        "select shrink_ shrink_all_ specs write_columns_ zero_units_"
    ),
    "compressor.transforms": "SparseProduct butterfly hierarchical palm4msa recover",
}
FORMER = {
    "compressor.checkpoint": "compressor.model.checkpoint",
    "compressor.launch": "compressor.measure.launch",
    "compressor.train": "compressor.training.context",
}


@pytest.mark.parametrize("module", PUBLIC)
def test_a_module_has_its_public_names_and_no_others(module):
    found = importlib.import_module(module)
    assert sorted(found.__all__) == PUBLIC[module].split()
    assert [name for name in found.__all__ if not hasattr(found, name)] == []


@pytest.mark.parametrize("former", FORMER)
def test_a_former_name_is_the_new_module_and_warns(former, monkeypatch):
    monkeypatch.delitem(sys.modules, former, raising=False)
    with pytest.warns(DeprecationWarning, match=rf"^{former} is now {FORMER[former]}; the old name goes in the next"):
        module = importlib.import_module(former)
    assert module is importlib.import_module(FORMER[former])


@pytest.mark.parametrize("module", ["compressor", "compressor.cli"])
def test_a_module_that_can_be_run_says_its_version(module):
    command = [sys.executable, "-m", module, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == compressor.__version__
