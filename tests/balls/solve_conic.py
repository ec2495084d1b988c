"""Write conic.json: nearest points found by a conic solver, for `test_oracles`.

Run: python tests/balls/solve_conic.py, where cvxpy and clarabel are installed; the tests need neither.
"""

import json
from pathlib import Path

import numpy as np

try:
    import cvxpy
except ModuleNotFoundError:  # pytest looks for doctests in this file too
    cvxpy = None

NORMS = {
    "l1": lambda x, w: cvxpy.sum(cvxpy.multiply(w, cvxpy.abs(x))),
    "l2": lambda x, w: cvxpy.norm(x, "fro"),
    "l_inf": lambda x, w: cvxpy.max(cvxpy.abs(x)),
    "l1_2": lambda x, w: cvxpy.sum(cvxpy.multiply(w, cvxpy.norm(x, 2, axis=0))),
    "l1_inf_exact": lambda x, w: cvxpy.sum(cvxpy.multiply(w, cvxpy.norm(x, "inf", axis=0))),
    "nuclear": lambda x, w: cvxpy.normNuc(x),
}
TIGHT = {"tol_gap_abs": 1e-13, "tol_gap_rel": 1e-13, "tol_feas": 1e-13, "max_iter": 500}


def solve(name, matrix, weights, share):
    """Radius, and nearest point of the ball of that radius."""
    radius = share * float(NORMS[name](cvxpy.Constant(matrix), weights).value)
    point = cvxpy.Variable(matrix.shape)
    problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(point - matrix)), [NORMS[name](point, weights) <= radius])
    problem.solve(solver="CLARABEL", **TIGHT)
    return radius, point.value


def cases():
    """Small matrices of several kinds, with and without weights, at three radii."""
    generator = np.random.default_rng(0)
    kinds = {
        "gaussian": generator.standard_normal((4, 5)).round(6),
        "heavy": generator.standard_t(2, (3, 6)).round(6),
        "integer": generator.integers(-3, 4, (5, 4)).astype(float),
        "flat": np.ones((3, 3)),
    }
    for name in NORMS:
        for kind, matrix in kinds.items():
            shape = matrix.shape if name == "l1" else matrix.shape[1:]
            for weights in (None, generator.uniform(0.5, 2, shape).round(6)) if name.startswith("l1") else (None,):
                for share in (0.1, 0.5, 0.9):
                    radius, point = solve(name, matrix, np.ones(shape) if weights is None else weights, share)
                    yield {
                        "ball": name,
                        "kind": kind,
                        "matrix": matrix.tolist(),
                        "weights": weights if weights is None else weights.tolist(),
                        "radius": radius,
                        "point": point.round(10).tolist(),
                    }


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(case) for case in cases())
    Path(__file__).with_name("conic.json").write_text(f"[\n{lines}\n]\n")
