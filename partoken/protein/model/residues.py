"""From coordinates to a vector of features for each residue: what every network over residues begins with."""

from dataclasses import replace

import torch
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

    encoder_parts = ("residue_type", "feature_input", "encoder")
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
        self.feature_input = None
        if settings.feature_width:
            channels = settings.feature_channels or settings.node_h_dim[0]
            self.feature_input = FeatureInput(settings.feature_width, channels)
            num_scalars += channels
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

    def encode(self, graph: ResidueGraph, sequence: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Computes residue features `[N, dim]`.

        Arguments:
            graph: The batch of chains; see `featurize`.
            sequence: Amino acids, `[N]` int64 from 0 to 20 (20: unknown); required if `seq_in` is true.
            features: Residue features that the user brings, `[N, feature_width]`; not read if the width is 0.

        Raises:
            UserError: `seq_in` is true and there is no sequence; or the residue features are missing or have another
                width.
        """
        extra = []
        if self.residue_type is not None:
            if sequence is None:
                raise UserError(
                    "model.seq_in=true: these chains have no sequence; give one, or train with model.seq_in=false"
                )
            extra.append(self.residue_type(sequence))
        if self.feature_input is not None:
            extra.append(self.feature_input(features))
        return self.encoder(graph, torch.cat(extra, dim=-1) * graph.mask[:, None] if extra else None)


class FeatureInput(nn.Module):
    """Creates the map from residue features that users bring to scalars that join those of the geometry.

    The features are normalised first, because embeddings of language models may have a few channels that are far larger
    than the others. By default they get as many channels as the network has hidden scalars, so that they lose nothing
    that the next layer could hold, and cannot crowd out the geometry when all scalars are normalised together.

    See also:
        LM-GVP (Wang et al., Scientific Reports 12, 6832, 2022), where the embeddings of a language model enter a GVP
        network as scalars of its residues, too.

    Arguments:
        width: Number D of features of a residue.
        channels: Number of scalars.
    """

    def __init__(self, width: int, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, channels)

    def forward(self, features: Tensor | None) -> Tensor:
        """Maps features `[N, D]` to scalars `[N, channels]`.

        Raises:
            UserError: there are no features, or their width is another one.
        """
        [width] = self.norm.normalized_shape
        if features is None:
            raise UserError(
                f"the network reads {width} features of each residue and was given none: give the file with "
                "data.residue_features=FILE, or with --residue-features FILE for a prediction"
            )
        if features.shape[-1] != width:
            raise UserError(
                f"the network reads {width} features of each residue and was given {features.shape[-1]}: give a file "
                "that was made like that of the training"
            )
        return self.linear(self.norm(features.to(self.norm.weight)))
