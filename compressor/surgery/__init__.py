"""Cut units out of a network: find dead ones, fold the constants they emit, remove them, and prove equal outputs."""

from compressor.surgery.factorized import cuttable, described, factorized, replace_, restore_, specs
from compressor.surgery.layers import Constant
from compressor.surgery.removal import column_sparsity, n_params, new_biases, prove_equal, resize_, shrink_, shrink_all_
from compressor.surgery.tracing.find import find_widths, left_out
from compressor.surgery.units import Example, columns, constants, dead_units, holds, write_columns_, zero_units_
from compressor.surgery.widths import Cut, Family, Kind, Side, Width, is_match, select

__all__ = [
    "Constant",
    "Cut",
    "Example",
    "Family",
    "Kind",
    "Side",
    "Width",
    "column_sparsity",
    "columns",
    "constants",
    "cuttable",
    "dead_units",
    "described",
    "factorized",
    "find_widths",
    "holds",
    "is_match",
    "left_out",
    "n_params",
    "new_biases",
    "prove_equal",
    "replace_",
    "resize_",
    "restore_",
    "select",
    "shrink_",
    "shrink_all_",
    "specs",
    "write_columns_",
    "zero_units_",
]
