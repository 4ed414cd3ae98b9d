r"""Which residues are likely to matter for what a protein does, learned without any label.

Four signals are multiplied, each as a rank within the chain:

- *conserved*: a small network guesses whether a homologue has the same type at this place. It learned from the chains
  of one sequence cluster, aligned with each other;
- *polar*: the type occurs more often among residues with few contacts than among residues with many;
- *surprising*: $-\log p$ of the type, as a small network predicts it from the surroundings of the residue;
- *prior*: closeness of the side chain to the centroid x pocket, see `geometry.surroundings`.

A catalytic residue is conserved, polar although it is buried in a pocket, and not the type that the fold alone would
ask for. The product is multiplied by the rank of its sum over the neighbours, because catalytic residues lie together.
Both networks read the features of the encoder that ships, which learned from structures without labels, too.

References:
    Evolutionary trace (Lichtarge, Bourne and Cohen 1996, J. Mol. Biol. 257, 342) for conserved residues as signs of
    function.
"""

from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from partoken.errors import UserError
from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.geometry.surroundings import SURROUNDINGS
from partoken.protein.model.ranks import multiply_ranks
from partoken.protein.model.residues import UNKNOWN, ResidueNetwork
from partoken.protein.model.shipped import shipped_encoder
from partoken.system.checkpoint import read_checkpoint

__all__ = ["WEIGHTS", "SelfSupervised", "Signals", "load_self_supervised"]

WEIGHTS = Path(str(resources.files("partoken.protein.pretrained"))) / "self_supervised.pt"
"""The weights that ship; `benchmarks/self_supervised.py` makes them."""

_HIDDEN = (128, 64)
_DROP = 0.1
_NEAR = 3.0
"""Width in angstrom of the Gaussian with which neighbours count."""


class Signals(NamedTuple):
    """What is learned of N residues without labels."""

    conserved: Tensor
    """Log odds that a homologue has the same type, `[N]`."""
    polar: Tensor
    """Log ratio of the frequencies of the type among residues with few and with many contacts, `[N]`."""
    surprising: Tensor
    """-log p of the type, `[N]`; 0 for an unknown type."""


class SelfSupervised(nn.Module):
    """Creates the network of the self-supervised score, with an encoder that is never trained.

    Arguments:
        encoder: The encoder, of the kind `frames`, which reads types.
    """

    mean: Tensor
    scale: Tensor
    polarity: Tensor

    def __init__(self, encoder: ResidueNetwork):
        super().__init__()
        settings = encoder.settings
        assert settings.encoder == "frames" and settings.seq_in, "a residue's own type must follow its features"
        self.encoder = encoder
        self.encoder.freeze_encoder()
        self.features = settings.node_h_dim[0]
        width = self.encoder.residue_channels + len(SURROUNDINGS)
        self.conserved = _small_network(width, 1)
        self.types = _small_network(self.features, UNKNOWN)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("polarity", torch.zeros(UNKNOWN + 1))

    def forward(self, coords: Tensor, ptr: Tensor, sequence: Tensor, surroundings: Tensor) -> Tensor:
        """Scores residues, `[N]`: 0 or more, to be compared within a chain; 0 for a residue without N, CA or C.

        Arguments:
            coords: Positions of N, CA, C, O in angstrom, `[N, 4, 3]`, NaN where missing.
            ptr: First residue of each chain, and N, `[B + 1]` int64.
            sequence: Amino acids, `[N]` int64 from 0 to 20 (20: unknown).
            surroundings: See `geometry.surroundings`, `[N, S]`.
        """
        h, graph = self.encoder.embed(coords, ptr, sequence)
        signals = self.signals(h, sequence, surroundings)
        closeness, pocket = (surroundings[:, SURROUNDINGS.index(name)] for name in ("closeness", "pocket"))
        product = multiply_ranks([*signals, closeness * pocket], ptr, graph.mask)
        return product * multiply_ranks([_near(product, graph)], ptr, graph.mask)

    def signals(self, h: Tensor, sequence: Tensor, surroundings: Tensor) -> Signals:
        """Computes the signals from the encoder's features, `[N, residue_channels]`; for the rest see `forward`."""
        x = self._standardise(h, surroundings)
        log_p = self.types(x[:, : self.features]).log_softmax(1)
        surprising = -log_p.gather(1, sequence.clamp(max=UNKNOWN - 1)[:, None])[:, 0]
        return Signals(
            conserved=self.conserved(x)[:, 0],
            polar=self.polarity[sequence],
            surprising=surprising.masked_fill(sequence == UNKNOWN, 0.0),
        )

    def _standardise(self, h: Tensor, surroundings: Tensor) -> Tensor:
        return (torch.cat([h, surroundings.to(h.dtype)], dim=1) - self.mean) * self.scale

    def trained_state(self) -> dict[str, Tensor]:
        """Returns the weights without those of the encoder."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("encoder.")}


def _small_network(width: int, out: int) -> nn.Sequential:
    first, second = _HIDDEN
    return nn.Sequential(
        nn.Linear(width, first),
        nn.GELU(),
        nn.Dropout(_DROP),
        nn.Linear(first, second),
        nn.GELU(),
        nn.Linear(second, out),
    )


def _near(scores: Tensor, graph: ResidueGraph) -> Tensor:
    """Sums the scores `[N]` of each residue and its neighbours, weighted by a Gaussian of the CA distance."""
    ca = graph.backbone[:, 1]
    distance = (ca[graph.neighbors] - ca[:, None]).norm(dim=-1)
    weight = torch.exp(-distance.square() / (2 * _NEAR**2)) * graph.neighbor_mask
    return scores + (weight * scores[graph.neighbors]).sum(1)


@cache
def load_self_supervised() -> SelfSupervised:
    """Loads the network that ships, on the CPU and in evaluation mode.

    Raises:
        UserError: this installation lacks its weights, or those of the encoder.
    """
    network = SelfSupervised(shipped_encoder())
    if not WEIGHTS.is_file():
        raise UserError(f"this installation of partoken lacks pretrained/{WEIGHTS.name}; install partoken again")
    network.load_state_dict({**network.state_dict(), **read_checkpoint(WEIGHTS)["state_dict"]})
    return network.eval()
