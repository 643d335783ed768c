"""What a volume is regressed on: a polynomial of the others, and least squares that edges out of place do not shape.

All arrays are (terms, voxels): sums over voxels run along memory. They are compiled, the same to the bit whatever the
number of BLAS threads: a threaded product sums in another order, and on a busy machine takes a hundred times as long.
"""

import numpy as np

from isocenter.models.compiled import lean_vector_kernel

#: Principal components of the other volumes from which a volume is predicted.
COMPONENTS = 3
#: Voxels of a block whose terms stay in the processor's cache while they are multiplied.
BLOCK = 512


def contrast_terms(others: np.ndarray) -> np.ndarray:
    """(terms, voxels) quadratic polynomial of the other volumes, (volumes, voxels), by their principal components."""
    scaled = (others - others.mean(axis=1, keepdims=True)) / max(float(others.std()), np.finfo(float).tiny)
    products, _ = sum_products(scaled, scaled[0], np.ones(scaled.shape[1]))
    _, vectors = np.linalg.eigh(products)
    components = combine(vectors[:, ::-1][:, :COMPONENTS].T, scaled)
    rows, columns = np.triu_indices(len(components))
    return np.concatenate([np.ones((1, scaled.shape[1])), components, components[rows] * components[columns]])


def solve_robust(terms: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least squares, then once more with Cauchy weights: edges that moved must not shape the contrast.

    terms : (terms, voxels) array; target : (voxels,) array

    Returns
    -------
    (terms,) array
    """
    weight = np.ones(len(target))
    for last in (False, True):
        normal, right = sum_products(terms, target, weight)
        scale = np.sqrt(np.diag(normal)) + np.finfo(float).tiny
        normal = normal / np.outer(scale, scale) + 1e-7 * np.eye(len(normal))
        solution = np.linalg.solve(normal, right / scale) / scale
        if not last:
            residual = target - combine(solution, terms)
            spread = 2 * 1.4826 * np.median(np.abs(residual)) + np.finfo(float).tiny
            weight = 1 / (1 + (residual / spread) ** 2)
    return solution


def find_misfit(terms: np.ndarray, target: np.ndarray) -> float:
    """The mean square of what the terms do not explain of (voxels,) values."""
    return float(np.mean((target - combine(solve_robust(terms, target), terms)) ** 2))


def combine(weights: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """(p,) or (q, p) weights · (p, voxels), without BLAS."""
    return np.einsum("...i,ij->...j", weights, terms, optimize=False)


def sum_products(terms: np.ndarray, target: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums over voxels of the terms' products with each other, (p, p), and with the target, (p,)."""
    count = len(terms)
    products, with_target = np.zeros((count, count)), np.zeros(count)
    _sum_products(terms, target, weight, np.empty(BLOCK), products, with_target)
    below = np.tril_indices(count, -1)
    products[below[1], below[0]] = products[below]
    return products, with_target


def compile_regression() -> None:
    """Compile and keep the kernel, so that no job waits for the compiler."""
    sum_products(np.ones((2, 3)), np.ones(3), np.ones(3))


@lean_vector_kernel
def _sum_products(terms, target, weight, weighted, products, with_target):
    """Fill the lower triangle of the products.

    No loop both stores and sums: a compiler asks of such a one where its arrays lie before it takes the vector code,
    and the order of the sum would follow from the answer.
    """
    count, voxels = terms.shape
    for start in range(0, voxels, weighted.size):
        n = min(weighted.size, voxels - start)
        for i in range(count):
            for v in range(n):
                weighted[v] = weight[start + v] * terms[i, start + v]
            total = 0.0
            for v in range(n):
                total += weighted[v] * target[start + v]
            with_target[i] += total
            for j in range(i + 1):
                total = 0.0
                for v in range(n):
                    total += weighted[v] * terms[j, start + v]
                products[i, j] += total
