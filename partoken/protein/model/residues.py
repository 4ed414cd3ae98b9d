"""From coordinates to a vector of features for each residue: what every network over residues begins with."""

import hashlib
import json
import logging
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn

from partoken.errors import UserError
from partoken.protein.chains.batch import ChainShare
from partoken.protein.geometry.graph import ResidueGraph, featurize
from partoken.protein.geometry.local_frames import LOCAL_CHANNELS, local_edges
from partoken.protein.model.feature_input import FeatureInput
from partoken.protein.model.frames import FrameEncoder
from partoken.protein.model.gvp import Encoder
from partoken.protein.model.residue_types import TypeEmbedding, type_weights
from partoken.protein.model.settings import NetworkSettings

__all__ = ["UNKNOWN", "ResidueNetwork"]

log = logging.getLogger(__name__)

UNKNOWN = 20
"""The residue type after the 20 amino acids: an unknown or a hidden one."""

ENCODER_VERSION = 1
"""Raise it when the same weights compute other features: embeddings in a cache are then computed again."""

_SEQUENCE_CHANNELS = 20
_NUM_ANGLES = 6
"""Cosine and sine of phi, psi and omega."""


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
        self.feature_input: FeatureInput | None = None
        self.residue_type: TypeEmbedding | None = None
        self.encoder = self._build_frames() if settings.encoder == "frames" else self._build_gvp()

    def _build_gvp(self) -> Encoder:
        settings = self.settings
        num_scalars, num_vectors = settings.node_in_dim
        # The order of these lines is the order in which weights are drawn: another order changes every run.
        if settings.seq_in:
            self.residue_type = TypeEmbedding(UNKNOWN + 1, _SEQUENCE_CHANNELS)
            num_scalars += _SEQUENCE_CHANNELS
        num_scalars += self._add_feature_input()
        return Encoder(
            (num_scalars, num_vectors),
            settings.node_h_dim,
            settings.edge_in_dim,
            settings.edge_h_dim,
            num_layers=settings.num_layers,
            drop_rate=settings.drop_rate,
        )

    def _build_frames(self) -> FrameEncoder:
        settings = self.settings
        return FrameEncoder(
            _NUM_ANGLES,
            settings.node_h_dim[0],
            LOCAL_CHANNELS,
            num_layers=settings.num_layers,
            drop_rate=settings.drop_rate,
            num_types=UNKNOWN + 1 if settings.seq_in else 0,
            extra_channels=self._add_feature_input(),
        )

    def _add_feature_input(self) -> int:
        """Creates the reader of the features that the user brings, and returns its number of channels."""
        if not self.settings.feature_width:
            return 0
        channels = self.settings.feature_channels or self.settings.node_h_dim[0]
        self.feature_input = FeatureInput(self.settings.feature_width, channels)
        return channels

    @property
    def residue_channels(self) -> int:
        """Number of features of a residue."""
        own_type = UNKNOWN + 1 if self._appends_type else 0
        return self.settings.node_h_dim[0] + own_type

    @property
    def _appends_type(self) -> bool:
        """Whether each residue's own type follows its features, because the encoder has not read it."""
        return self.settings.encoder == "frames" and self.settings.seq_in

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

    def note_longest(self, longest: int) -> None:
        """Says in the log if even the longest chain of the data has fewer neighbours than were asked for.

        Arguments:
            longest: Residues of the longest chain.
        """
        if self.settings.num_neighbors >= longest:
            log.warning(
                "model.num_neighbors=%d: the longest chain has %d residues, so a residue has at most %d neighbours",
                self.settings.num_neighbors,
                longest,
                longest - 1,
            )

    def fingerprint(self) -> str:
        """Returns a digest of everything on which the features of a residue depend, apart from the chain itself."""
        settings = self.settings
        read = [ENCODER_VERSION, settings.node_in_dim, settings.edge_in_dim, settings.num_neighbors]
        if settings.encoder != "gvp":
            read += [settings.encoder]
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
            embedding: Features of the residues from an earlier call, `[N, residue_channels]`; None: they are computed.
            num_neighbors: Neighbours in the graph if the features are given; None takes those of the settings.

        Returns:
            Features `[N, residue_channels]`; and the graph, which has neighbours and no features if the embedding was
            given.

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
        if self.settings.encoder == "frames":
            graph = featurize(coords, ptr, self.settings.num_neighbors, num_rbf=0, num_positional=0)
            return replace(graph, edge_s=local_edges(coords, graph), share=share)
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
        """Computes residue features `[N, residue_channels]`.

        Arguments:
            graph: The batch of chains; see `featurize`.
            sequence: Amino acids, `[N]` int64 from 0 to 20 (20: unknown), or weights of these types, `[N, 21]`;
                required if `seq_in` is true.
            features: Residue features that the user brings, `[N, feature_width]`; not read if the width is 0.

        Raises:
            UserError: `seq_in` is true and there is no sequence; or the residue features are missing or have another
                width.
        """
        h = self.encode_surroundings(graph, sequence, features)
        if not self._appends_type:
            return h
        assert sequence is not None
        own_type = type_weights(sequence, UNKNOWN + 1) * graph.mask[:, None]
        return torch.cat([h, own_type.to(h.dtype)], dim=-1)

    def encode_surroundings(
        self, graph: ResidueGraph, sequence: Tensor | None = None, features: Tensor | None = None
    ) -> Tensor:
        """Computes residue features `[N, node_h_dim[0]]`, which know a residue's own type only with `encoder` gvp.

        Arguments and errors are those of `encode`.
        """
        if self.settings.seq_in and sequence is None:
            raise UserError(
                "model.seq_in=true: these chains have no sequence; give one, or train with model.seq_in=false"
            )
        brought = None if self.feature_input is None else self.feature_input(features) * graph.mask[:, None]
        if isinstance(self.encoder, FrameEncoder):
            return self.encoder(graph, sequence, brought)
        extra = [] if self.residue_type is None else [self.residue_type(sequence) * graph.mask[:, None]]
        if brought is not None:
            extra.append(brought)
        return self.encoder(graph, torch.cat(extra, dim=-1) if extra else None)
