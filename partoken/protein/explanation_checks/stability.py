"""Stability: does an explanation stay the same if the structure moves a little?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from partoken.protein.chains.backbone import Backbone
from partoken.protein.explanation_checks.agreement import compare_explanations
from partoken.protein.explanation_checks.explained import ExplainedChain, batches
from partoken.protein.predict import Predictor

__all__ = ["disturbances", "score_stability"]

_NOISE = (0.1, 0.5)
"""Standard deviations of the noise on each coordinate, in angstrom: less than that of a good structure, and much."""


def disturbances(random: np.random.Generator) -> Mapping[str, Callable[[Backbone], Backbone]]:
    """Returns changes of a chain that should not change its explanation much, by name."""

    def noise(size: float) -> Callable[[Backbone], Backbone]:
        return lambda chain: _moved(chain, chain.coords + random.normal(0, size, chain.coords.shape))

    def rotate(chain: Backbone) -> Backbone:
        matrix, _ = np.linalg.qr(random.normal(size=(3, 3)))
        return _moved(chain, chain.coords @ (matrix * np.sign(np.linalg.det(matrix))))

    return {"rotation": rotate, **{f"noise of {size:g} angstrom": noise(size) for size in _NOISE}}


def score_stability(
    predictor: Predictor, chains: Sequence[ExplainedChain], random: np.random.Generator
) -> dict[str, list[dict[str, float]]]:
    """Compares the explanations of chains with those of changed copies.

    Arguments:
        predictor: The network.
        chains: The chains.
        random: Draws noise and rotations.

    Returns:
        By change, what `compare_explanations` returns for each chain.
    """
    found = {}
    for name, change in disturbances(random).items():
        compared: list[dict[str, float]] = []
        copies = [change(chain.backbone) for chain in chains]
        with tqdm(total=len(copies), unit=" chains", desc=name) as bar:
            for batch in batches(copies):
                for prediction in predictor.explain_chains(batch):
                    own = chains[len(compared)].prediction
                    compared.append(compare_explanations(own, prediction, same_codes=True))
                bar.update(len(batch))
        found[name] = compared
    return found


def _moved(chain: Backbone, coords: np.ndarray) -> Backbone:
    return replace(chain, coords=coords.astype(np.float32))
