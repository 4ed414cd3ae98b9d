"""How alike short traces are after superposition, for many pairs at once. Imports only NumPy."""

import numpy as np

__all__ = ["rmsd"]


def rmsd(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Computes the root mean square deviation of pairs of traces after the best rotation and translation.

    With singular values s of the covariance of two centred traces a and b of L points, it is

        sqrt((|a|^2 + |b|^2 - 2 (s_1 + s_2 + d s_3)) / L),

    where d is -1 if the best map would be a mirror image, else 1.

    References:
        Kabsch 1976, A solution for the best rotation to relate two sets of vectors, Acta Cryst. A32, 922.

    Arguments:
        one: Traces in angstrom, `[..., L, 3]`.
        two: Traces of the same length; leading axes broadcast.

    Returns:
        The deviation of each pair in angstrom, `[...]`.

    Example:
        >>> trace = np.random.default_rng(0).normal(size=(8, 3))
        >>> round(float(rmsd(trace, trace[:, [1, 2, 0]] + 5)), 6)
        0.0
    """
    one, two = (trace - trace.mean(-2, keepdims=True) for trace in (one, two))
    covariance = np.swapaxes(one, -1, -2) @ two
    scale = np.linalg.svd(covariance, compute_uv=False)
    mirror = np.where(np.linalg.det(covariance) < 0, -1.0, 1.0)
    overlap = scale[..., 0] + scale[..., 1] + mirror * scale[..., 2]
    squares = (one**2).sum((-1, -2)) + (two**2).sum((-1, -2)) - 2 * overlap
    deviation: np.ndarray = np.sqrt(np.maximum(squares, 0) / one.shape[-2])
    return deviation
