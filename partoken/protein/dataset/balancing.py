"""The weights of training chains in the loss, so that large clusters of similar chains do not decide it alone."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

__all__ = ["cluster_weights"]


def cluster_weights(clusters: Sequence[Hashable], power: float) -> np.ndarray:
    """Returns the weight of each chain: 1 / size of its cluster to some power, float32 [n] with the mean 1.

    Arguments:
        clusters: cluster of each of n chains.
        power: 0 gives every chain the same weight, 1 every cluster.

    >>> [round(weight, 2) for weight in cluster_weights(["a", "a", "a", "a", "b"], 0.5).tolist()]
    [0.83, 0.83, 0.83, 0.83, 1.67]
    """
    sizes = Counter(clusters)
    weights = np.array([sizes[cluster] ** -power for cluster in clusters], np.float32)
    return weights / weights.mean()
