"""From coordinates to a vector of features for each residue: what every network over residues begins with."""

import hashlib
import json
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn

from partoken.errors import UserError
from partoken.protein.chains.batch import ChainShare
from partoken.protein.geometry.graph import ResidueGraph, featurize
from partoken.protein.model.feature_input import FeatureInput
from partoken.protein.model.gvp import Encoder
from partoken.protein.model.settings import NetworkSettings

__all__ = ["UNKNOWN", "ResidueNetwork"]

UNKNOWN = 20
"""The residue type after the 20 amino acids: an unknown or a hidden one."""

ENCODER_VERSION = 1
"""Raise it when the same weights compute other features: embeddings in a cache are then computed again."""

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
        self.is_encoder_frozen = False
        num_scalars, num_vectors = settings.node_in_dim
        # The order of these lines is the order in which weights are drawn: another order changes every run.
        self.residue_type = None
        if settings.seq_in:
            self.residue_type = nn.Embedding(UNKNOWN + 1, _SEQUENCE_CHANNELS)
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

    def freeze_encoder(self) -> None:
        """Stops the training of the encoder for good. It computes as in evaluation, so without dropout."""
        self.is_encoder_frozen = True
        for part in self._encoder_modules():
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.is_encoder_frozen:
            for part in self._encoder_modules():
                part.eval()
        return self

    def fingerprint(self) -> str:
        """Returns a digest of everything on which the features of a residue depend, apart from the chain itself."""
        read = [ENCODER_VERSION, self.settings.node_in_dim, self.settings.edge_in_dim, self.settings.num_neighbors]
        digest = hashlib.sha256(json.dumps(read).encode())
        for part in self._encoder_modules():
            for name, value in part.state_dict().items():
                digest.update(name.encode() + value.cpu().numpy().tobytes())
        return digest.hexdigest()

    def _encoder_modules(self) -> list[nn.Module]:
        return [part for name in self.encoder_parts if (part := getattr(self, name)) is not None]

    def embed(
        self,
        coords: Tensor,
        ptr: Tensor,
        sequence: Tensor | None = None,
        share: ChainShare | None = None,
        *,
        features: Tensor | None = None,
        embedding: Tensor | None = None,
        num_neighbors: int | None = None,
    ) -> tuple[Tensor, ResidueGraph]:
        """Computes the features of the residues, or takes those that were computed before.

        Arguments:
            coords: Positions of N, CA, C, O in angstrom, `[N, 4, 3]`, NaN where missing.
            ptr: First residue of each chain, and N, `[B + 1]` int64.
            sequence: Amino acids, `[N]` int64 from 0 to 20 (20: unknown); required if `seq_in` is true.
            share: The place of these chains in the batch of all devices; None: there is one device.
            features: Residue features that the user brings, `[N, feature_width]`; not read if the width is 0.
            embedding: Features of the residues from an earlier call, `[N, dim]`; None: they are computed.
            num_neighbors: Neighbours in the graph if the features are given; None takes those of the settings.

        Returns:
            Features `[N, dim]`; and the graph, which has neighbours and no features if the embedding was given.

        Raises:
            UserError: as for `encode`.
        """
        if embedding is not None:
            count = self.settings.num_neighbors if num_neighbors is None else num_neighbors
            return embedding, replace(featurize(coords, ptr, count, features=False), share=share)
        graph = self.featurize(coords, ptr, share)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_encoder_frozen):
            return self.encode(graph, sequence, features), graph

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
