"""A network that learns from structures without labels: it predicts hidden residue types from what surrounds them.

References:
    BERT (Devlin et al., NAACL 2019) for hiding a part of the input.
    Generative Models for Graph-Based Protein Design (Ingraham et al., NeurIPS 2019) for residue types from a backbone.
"""

import torch
from torch import Tensor, nn

from partoken.protein.chains.batch import ChainShare
from partoken.protein.model.residues import UNKNOWN, ResidueNetwork
from partoken.protein.model.settings import NetworkSettings

__all__ = ["MaskedResidues", "choose_evenly"]

_GOLDEN = 0.6180339887498949
"""The fractional parts of its multiples are spread evenly over 0 to 1 (Weyl sequence of the golden ratio)."""


class MaskedResidues(ResidueNetwork):
    """Creates an encoder with a small head for residue types, which is dropped after pretraining.

    A hidden residue enters the network as an unknown one. Its type is then nowhere in the input, so no message can
    carry it back to its own residue, whatever the number of layers. Without residue features, the encoder `frames`
    never reads the type of a residue for its own features. Then no residue has to enter as an unknown one, and all can
    be predicted at once: `predicts_all`.

    Arguments:
        settings: The architecture; only its encoder matters here. If `seq_in` is false, the network reads geometry
            alone, and every residue can be predicted at once, too.

    Example:
        >>> network = MaskedResidues(NetworkSettings(seq_in=True))
        >>> hidden = torch.arange(30) % 3 == 0
        >>> logits = network(torch.randn(30, 4, 3).cumsum(0), torch.tensor([0, 30]), torch.zeros(30).long(), hidden)
        >>> logits.shape
        torch.Size([10, 20])
    """

    def __init__(self, settings: NetworkSettings):
        super().__init__(settings)
        dim = settings.node_h_dim[0]
        self.predict = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim), nn.Linear(dim, UNKNOWN))

    @property
    def predicts_all(self) -> bool:
        """Whether every residue can be predicted in one pass, from all the others."""
        settings = self.settings
        return not settings.seq_in or (settings.encoder == "frames" and not settings.feature_width)

    def forward(
        self,
        coords: Tensor,
        ptr: Tensor,
        sequence: Tensor,
        hidden: Tensor,
        share: ChainShare | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """Predicts the types of the hidden residues.

        Arguments:
            coords: Positions of N, CA, C, O in angstrom, `[N, 4, 3]`, NaN where missing.
            ptr: First residue of each chain, and N, `[B + 1]` int64.
            sequence: Amino acids, `[N]` int64 from 0 to 20 (20: unknown).
            hidden: True for the M residues whose type is hidden, `[N]` bool.
            share: The place of these chains in the batch of all devices; None: there is one device.
            features: Residue features that the user brings, `[N, feature_width]`; not read for hidden residues.

        Returns:
            Scores of the 20 amino acids for each hidden residue, `[M, 20]` float32 or wider.
        """
        graph = self.featurize(coords, ptr, share)
        if features is not None:
            features = features.masked_fill(hidden[:, None], 0)
        if not self.predicts_all:
            sequence = sequence.masked_fill(hidden, UNKNOWN)
        h = self.encode_surroundings(graph, sequence, features)
        logits: Tensor = self.predict(h[hidden])
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


def choose_evenly(residues: Tensor, fraction: float) -> Tensor:
    """Chooses a fraction of residues in the same way every time, spread along the chain, `[N]` bool.

    Arguments:
        residues: Numbers of the residues, `[N]` int64, 0 or more.
        fraction: From 0 to 1.

    Example:
        >>> choose_evenly(torch.arange(10), 0.3).long()
        tensor([1, 0, 1, 0, 0, 1, 0, 0, 0, 0])
    """
    return (residues.double() * _GOLDEN).remainder(1.0) < fraction
