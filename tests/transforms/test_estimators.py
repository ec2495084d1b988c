"""The estimators with scikit-learn's interface: its own checks, K-means, and exact kernels."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.kernel_approximation import Nystroem, RBFSampler
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from compressor.transforms import Fastfood, FastNystroem, QuicKMeans
from compressor.transforms.fastfood import hadamard_product

ESTIMATORS = [QuicKMeans(random_state=0), FastNystroem(random_state=0), Fastfood(random_state=0)]


@parametrize_with_checks(ESTIMATORS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


def blobs(dtype=np.float64):
    """Clusters of 16 features whose centers are a product of two sparse factors."""
    random = np.random.default_rng(0)
    left, right = np.zeros((8, 8)), np.zeros((8, 16))
    for k in range(8):
        left[k, [k, (k + 3) % 8]] = random.choice([-1, 1], 2) * random.uniform(3, 6, 2)
        right[k, random.permutation(16)[:4]] = random.uniform(1, 3, 4)
    samples, labels = make_blobs(400, centers=left @ right, cluster_std=0.3, random_state=0)
    return samples.astype(dtype), labels


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_planted_clusters_are_found(dtype):
    samples, labels = blobs(dtype)
    found = QuicKMeans(8, n_nonzeros=80, max_iter=10, random_state=0).fit(samples)
    assert adjusted_rand_score(found.labels_, labels) > 0.9
    assert found.product_.n_nonzeros <= 80
    assert found.cluster_centers_.dtype == dtype


@pytest.mark.parametrize(("n_nonzeros", "n_factors"), [(40, 2), (90, 3), (300, 2)])
def test_the_objective_never_rises_and_is_the_sum_of_squared_distances(n_nonzeros, n_factors):
    samples = load_digits().data[:300]
    found = QuicKMeans(20, n_nonzeros=n_nonzeros, n_factors=n_factors, max_iter=15, random_state=1).fit(samples)
    assert all(
        after <= before * (1 + 1e-12) for before, after in zip(found.inertias_, found.inertias_[1:], strict=False)
    )
    assert found.inertias_[-1] < found.inertias_[0]
    nearest = ((samples[:, None] - found.cluster_centers_) ** 2).sum(axis=2)
    assert found.inertia_ == pytest.approx(nearest.min(axis=1).sum(), rel=1e-9)
    assert np.array_equal(nearest.argmin(axis=1), found.predict(samples))
    np.testing.assert_allclose(found.transform(samples) ** 2, nearest, rtol=1e-6, atol=1e-6)


def test_with_as_many_numbers_as_it_takes_it_is_about_kmeans():
    samples, _ = blobs()
    most = QuicKMeans(8, n_nonzeros=8 * 16 + 64, random_state=0).fit(samples)
    assert most.inertia_ <= 1.05 * KMeans(8, random_state=0, n_init=1).fit(samples).inertia_


def test_a_tenth_of_the_numbers_by_default():
    samples = np.random.default_rng(0).standard_normal((400, 256))
    found = QuicKMeans(64, max_iter=2, random_state=0).fit(samples)
    assert found.product_.n_nonzeros <= 64 * 256 / 10


def test_a_cluster_that_loses_its_samples_stays_where_it_is():
    """Twenty samples at two places leave most clusters without any."""
    samples = np.repeat([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]], 10, axis=0)
    found = QuicKMeans(5, random_state=0).fit(samples)
    assert np.isfinite(found.cluster_centers_).all()
    assert len(set(found.labels_[:10])) == len(set(found.labels_[10:])) == 1


def test_a_pipeline_ends_in_a_classifier():
    samples, labels = load_digits(return_X_y=True)
    samples = samples / 16
    for step in (
        QuicKMeans(40, n_nonzeros=800, random_state=0, max_iter=5),
        FastNystroem(n_components=60, n_nonzeros=1200, random_state=0, max_iter=3),
        Fastfood(gamma=0.05, n_components=256, random_state=0),
    ):
        model = make_pipeline(step, LogisticRegression(max_iter=2000)).fit(samples[:1200], labels[:1200])
        assert model.score(samples[1200:], labels[1200:]) > 0.8


def test_nystroem_is_that_of_scikit_learn_on_its_landmarks():
    samples = np.random.default_rng(0).standard_normal((80, 6))
    for kernel in ("rbf", "poly"):
        found = FastNystroem(kernel, gamma=0.2, n_components=12, random_state=0).fit(samples)
        theirs = Nystroem(kernel=kernel, gamma=0.2, degree=3, coef0=1, n_components=12, random_state=0)
        theirs.fit(found.landmarks_.dense)
        ours, same = found.transform(samples), theirs.transform(samples)
        np.testing.assert_allclose(ours @ ours.T, same @ same.T, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("kernel", "exact"), [("rbf", rbf_kernel), ("poly", polynomial_kernel)])
def test_nystroem_is_exact_if_every_sample_is_a_landmark(kernel, exact):
    """The product then is exact as well: one factor may hold all the numbers."""
    samples = np.random.default_rng(0).standard_normal((30, 6))
    found = FastNystroem(kernel, n_components=30, n_nonzeros=30 * 6 + 36, random_state=0).fit(samples)
    assert {tuple(row.round(6)) for row in found.landmarks_.dense} == {tuple(row.round(6)) for row in samples}
    features = found.transform(samples)
    np.testing.assert_allclose(features @ features.T, exact(samples), rtol=1e-4, atol=1e-4)


def test_the_error_of_nystroem_falls_with_the_landmarks_and_the_numbers():
    samples = np.random.default_rng(0).standard_normal((200, 8))
    exact = rbf_kernel(samples, gamma=0.05)

    def error(n_components, n_per_landmark):
        made = FastNystroem(
            gamma=0.05, n_components=n_components, n_nonzeros=n_per_landmark * n_components, max_iter=5, random_state=0
        )
        features = made.fit_transform(samples)
        return np.linalg.norm(features @ features.T - exact) / np.linalg.norm(exact)

    by_landmarks = [error(n_components, 4) for n_components in (4, 16, 64)]
    assert by_landmarks[0] > 1.5 * by_landmarks[1] > 2 * by_landmarks[2]
    assert error(16, 2) > error(16, 10)


@pytest.mark.parametrize("n_features", [16, 13])
def test_the_error_of_fastfood_falls_as_that_of_random_features(n_features):
    samples = np.random.default_rng(0).standard_normal((60, n_features))
    exact = rbf_kernel(samples, gamma=0.05)

    def error(make):
        features = [make(seed).fit_transform(samples) for seed in range(8)]
        return np.mean([np.sqrt(np.mean((each @ each.T - exact) ** 2)) for each in features])

    few, many = (error(lambda seed, n=n: Fastfood(gamma=0.05, n_components=n, random_state=seed)) for n in (64, 1024))
    theirs = error(lambda seed: RBFSampler(gamma=0.05, n_components=1024, random_state=seed))
    assert few / many == pytest.approx(4, rel=0.3)
    assert many < 1.5 * theirs


def test_fastfood_keeps_single_precision():
    samples = np.random.default_rng(0).standard_normal((5, 10)).astype(np.float32)
    double = Fastfood(n_components=30, random_state=0).fit_transform(samples.astype(np.float64))
    single = Fastfood(n_components=30, random_state=0).fit_transform(samples)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, atol=1e-5)


def test_hadamard_products_are_those_of_the_matrix():
    from scipy.linalg import hadamard

    vectors = np.random.default_rng(0).standard_normal((3, 2, 32))
    np.testing.assert_allclose(hadamard_product(vectors), vectors @ hadamard(32), atol=1e-12)
    assert hadamard_product(vectors[..., :1]).tolist() == vectors[..., :1].tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QuicKMeans(0), "n_clusters: must be >= 1, got 0"),
        (lambda: QuicKMeans(2, n_factors=1), "n_factors: must be >= 2, got 1"),
        (lambda: QuicKMeans(2, tol=-1.0), "tol: must be >= 0, got -1.0"),
        (lambda: QuicKMeans(21), "n_samples=20 should be >= n_clusters=21"),
        (lambda: QuicKMeans(4, n_nonzeros=1), "n_factors, n_nonzeros: must be >= 2 and >= n_factors, got 2, 1"),
        (
            lambda: FastNystroem().set_params(kernel="cosine"),
            "kernel: must be 'rbf' or 'poly', got 'cosine'",
        ),
        (lambda: FastNystroem(n_components=0), "n_components: must be >= 1, got 0"),
        (lambda: Fastfood(gamma=0), "gamma, n_components: must be > 0 and >= 1, got 0, 100"),
    ],
)
def test_bad_numbers_are_refused_in_a_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make().fit(np.random.default_rng(0).standard_normal((20, 5)))
    assert "\n" not in str(caught.value)


def test_importing_the_package_imports_no_scikit_learn():
    code = "import sys, compressor.transforms, compressor.nn; sys.exit('sklearn.cluster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
