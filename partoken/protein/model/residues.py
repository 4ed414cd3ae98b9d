"""From coordinates to a vector of features for each residue: what every network over residues begins with."""

from dataclasses import replace

from torch import Tensor, nn

from partoken.errors import UserError
from partoken.protein.chains.batch import ChainShare
from partoken.protein.model.graph import ResidueGraph, featurize
from partoken.protein.model.gvp import Encoder
from partoken.protein.model.settings import NetworkSettings

__all__ = ["ResidueNetwork"]

_NUM_RESIDUE_TYPES = 21
_SEQUENCE_CHANNELS = 20


class ResidueNetwork(nn.Module):
    """Creates the encoder of residues. A subclass adds what reads its features.

    Arguments:
        settings: The architecture; only its encoder matters here.
    """

    encoder_parts = ("residue_type", "encoder")
    """Modules between the input and the features of the residues."""

    def __init__(self, settings: NetworkSettings):
        super().__init__()
        self.settings = settings
        num_scalars, num_vectors = settings.node_in_dim
        # The order of these lines is the order in which weights are drawn: another order changes every run.
        self.residue_type = None
        if settings.seq_in:
            self.residue_type = nn.Embedding(_NUM_RESIDUE_TYPES, _SEQUENCE_CHANNELS)
            num_scalars += _SEQUENCE_CHANNELS
        self.encoder = Encoder(
            (num_scalars, num_vectors),
            settings.node_h_dim,
            settings.edge_in_dim,
            settings.edge_h_dim,
            num_layers=settings.num_layers,
            drop_rate=settings.drop_rate,
        )

    def featurize(self, coords: Tensor, ptr: Tensor, share: ChainShare | None = None) -> ResidueGraph:
        """Computes the graph that this network reads.

        Arguments:
            coords: Positions of N, CA, C, O in angstrom, `[N, 4, 3]`, NaN where missing.
            ptr: First residue of each chain, and N, `[B + 1]` int64.
            share: The place of these chains in the batch of all devices; None: there is one device.
        """
        num_scalars, num_vectors = self.settings.node_in_dim
        half = self.settings.edge_in_dim[0] // 2
        graph = featurize(
            coords,
            ptr,
            self.settings.num_neighbors,
            num_rbf=half,
            num_positional=half,
        )
        # Scalars are three cosines, then three sines: of phi, psi and omega.
        node_s = graph.node_s.unflatten(-1, (2, 3))[..., : num_scalars // 2].flatten(-2)
        return replace(graph, node_s=node_s, node_v=graph.node_v[:, :num_vectors], share=share)

    def encode(self, graph: ResidueGraph, sequence: Tensor | None = None) -> Tensor:
        """Computes residue features `[N, dim]`.

        Arguments:
            graph: The batch of chains; see `featurize`.
            sequence: Amino acids, `[N]` int64 from 0 to 20 (20: unknown); required if `seq_in` is true.

        Raises:
            UserError: `seq_in` is true and there is no sequence.
        """
        extra = None
        if self.residue_type is not None:
            if sequence is None:
                raise UserError(
                    "model.seq_in=true: these chains have no sequence; give one, or train with model.seq_in=false"
                )
            extra = self.residue_type(sequence) * graph.mask[:, None]
        return self.encoder(graph, extra)
