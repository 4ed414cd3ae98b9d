"""The whole network: coordinates in, class scores, tokens and their importance out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from partoken.protein.chains.batch import ChainShare
from partoken.protein.geometry.fold import fold_geometry
from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.geometry.surroundings import surroundings as compute_surroundings
from partoken.protein.model.codebook import Codebook, Quantized
from partoken.protein.model.contributions import FOLD, RESIDUES, SUBSTRUCTURES, WHOLE
from partoken.protein.model.elements import ElementPartitioner
from partoken.protein.model.fold_branch import FoldBranch
from partoken.protein.model.head import Head, HeadAnswer
from partoken.protein.model.partition import Partition, Partitioner
from partoken.protein.model.reading import AttentionReading
from partoken.protein.model.regions import RegionPartitioner
from partoken.protein.model.residues import ResidueNetwork
from partoken.protein.model.settings import FOLLOW_ATTENTION, NetworkSettings
from partoken.system.distributed import gather_rows, total

__all__ = ["ParToken", "ParTokenOutput"]


@dataclass(frozen=True)
class ParTokenOutput:
    """The network's output for B chains with N residues and up to K substructures each."""

    logits: Tensor
    """Scores of the classes, `[B, C]`."""
    importance: Tensor
    """Weight of each substructure in the answer, `[B, K]`: sum 1 over a chain's substructures, 0 elsewhere."""
    cluster_mask: Tensor
    """True where a substructure exists, `[B, K]` bool."""
    tokens: Tensor
    """Code of each substructure, `[B, K]` int64, -1 where there is none, and everywhere if the codebook is bypassed."""
    assignment: Tensor
    """Substructure of each residue, numbered within its chain, `[N]` int64, -1 for none."""
    membership: Tensor
    """Probability with which its substructure took each residue, `[N]`."""
    summary: Tensor
    """All residues of each chain, pooled and standardised, `[B, dim]`."""
    losses: dict[str, Tensor] = field(default_factory=dict)
    """Scalars `vq`, `entropy` and `coverage`, before their weights."""
    attention: Tensor | None = None
    """Weight of each residue for each label, `[N, labels]`: sum 1 over a chain, 0 for a missing residue. None: the
    network reads no residues by attention."""
    contributions: dict[str, Tensor] = field(default_factory=dict)
    """What each part of the network adds to the scores, `[B, C]`, by the name of the part; see
    `partoken.protein.model.contributions`. In training, those of a gate are not computed."""


class _Seen(NamedTuple):
    """Features of a batch before anything is standardised."""

    h: Tensor
    graph: ResidueGraph
    surroundings: Tensor | None
    partition: Partition | None


class ParToken(ResidueNetwork):
    """Creates the network.

    Arguments:
        num_classes: Number of classes C of a single label, or those of each label.
        settings: The architecture; None takes the defaults.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> network = ParToken(3, NetworkSettings(max_clusters=5)).eval()
        >>> output = network(torch.randn(60, 4, 3).cumsum(0), torch.tensor([0, 20, 60]))
        >>> output.logits.shape, output.tokens.shape
        (torch.Size([2, 3]), torch.Size([2, 5]))
    """

    def __init__(self, num_classes: int | Sequence[int], settings: NetworkSettings | None = None):
        num_classes = [num_classes] if isinstance(num_classes, int) else list(num_classes)
        assert num_classes and min(num_classes) >= 1
        settings = settings or NetworkSettings()
        super().__init__(settings)
        dim = self.residue_channels
        # The order of these lines is the order in which weights are drawn: another order changes every run.
        self.partitioner = self.codebook = None
        reads = "summary"
        if settings.partition != "none":
            code_dim = settings.codebook_dim or dim
            self.partitioner = _build_partitioner(dim, settings)
            self.to_code = nn.Linear(dim, code_dim) if settings.codebook_dim else nn.Identity()
            self.codebook = Codebook(
                settings.codebook_size,
                code_dim,
                decay=settings.codebook_decay,
                distance=settings.codebook_distance,
                temperature=settings.psc_temp,
            )
            self.from_code = nn.Linear(code_dim, dim)
            reads = settings.classify_from
        self.head = Head(
            dim,
            sum(num_classes),
            pooling=settings.pooling,
            drop_rate=settings.drop_rate,
            reads=reads,
            combine=settings.combine,
            exchange=settings.exchange,
            exchange_layers=settings.exchange_layers,
            weighs=settings.partition not in FOLLOW_ATTENTION,
        )
        self.reading = None
        if settings.residue_attention:
            self.reading = AttentionReading(
                dim,
                num_classes,
                prior=settings.attention_prior,
                drop_rate=settings.drop_rate,
            )
        self.fold_branch = FoldBranch(sum(num_classes)) if settings.fold_geometry else None
        self.register_buffer("tau", torch.tensor(float(settings.tau_init)))

    def forward(
        self,
        coords: Tensor,
        ptr: Tensor,
        sequence: Tensor | None = None,
        share: ChainShare | None = None,
        features: Tensor | None = None,
        embedding: Tensor | None = None,
        fold: Tensor | None = None,
        surroundings: Tensor | None = None,
    ) -> ParTokenOutput:
        """Classifies a flat batch of chains.

        Arguments:
            coords: Positions of N, CA, C, O in angstrom, `[N, 4, 3]`, NaN where missing.
            ptr: First residue of each chain, and N, `[B + 1]` int64.
            sequence: Amino acids, `[N]` int64 from 0 to 20 (20: unknown); required if `seq_in` is true.
            share: The place of these chains in the batch of all devices; None: there is one device.
            features: Residue features that the user brings, `[N, feature_width]`; not read if the width is 0.
            embedding: Features of the residues, computed before by `embed`, `[N, dim]`; None: they are computed.
            fold: Fold geometry of the chains, `[B, FOLD_WIDTH]`; None: it is computed if the network reads it.
            surroundings: Surroundings of the residues, `[N, S]`, see `geometry.surroundings`; None: they are computed
                on the CPU, which takes about 10 ms a chain, if the network reads them.

        Raises:
            UserError: `seq_in` is true and there is no sequence; or the residue features are missing or have another
                width.
        """
        if self.fold_branch is not None and fold is None:
            fold = fold_geometry(coords, ptr)
        if self.reads_surroundings and surroundings is None:
            surroundings = compute_surroundings(coords, ptr)
        h, graph = self.embed(
            coords,
            ptr,
            sequence,
            share,
            features=features,
            embedding=embedding,
            num_neighbors=self._neighbors_of_partition,
        )
        if self.partitioner is None:
            partition, quantized = None, None
            answer = self.head(h, graph, surroundings=surroundings)
        else:
            partition = self.partition(h, graph, surroundings)
            quantized = self._quantize(partition)
            answer = self.head(h, graph, self._tokens(quantized), partition, surroundings)
        logits, contributions = answer.logits, dict(answer.contributions)
        attention = None
        if self.reading is not None:
            read = self.reading(h, graph, surroundings)
            attention, logits = read.attention, logits + read.logits
            contributions[RESIDUES] = read.logits
        if self.fold_branch is not None:
            of_fold = self.fold_branch(fold, graph.share and graph.share.chains)
            logits = logits + of_fold
            contributions[FOLD] = of_fold
        return ParTokenOutput(
            logits=logits,
            summary=answer.summary,
            attention=attention,
            contributions={name: contributions[name] for name in self.parts if name in contributions},
            **self._describe_substructures(h, graph, answer, partition, quantized),
        )

    def _quantize(self, partition: Partition) -> Quantized:
        """Maps the substructures to codes."""
        assert self.codebook is not None, "a network with a partition has a codebook"
        quantize = self.codebook.bypass if self.settings.bypass_codebook else self.codebook
        return quantize(self.to_code(partition.features), partition.mask)

    def _tokens(self, quantized: Quantized) -> Tensor:
        """Returns what the classifier reads of the substructures, `[B, K, dim]`."""
        reads_codes = self.settings.tokens_from == "codes"
        return self.from_code(quantized.vectors if reads_codes else quantized.standardised)

    def _describe_substructures(
        self,
        h: Tensor,
        graph: ResidueGraph,
        answer: HeadAnswer,
        partition: Partition | None,
        quantized: Quantized | None,
    ) -> dict[str, Any]:
        """Returns the fields of the output that are about substructures; without a partition they are empty."""
        if partition is None or quantized is None:
            shape = (graph.num_chains, self.settings.max_clusters)
            zero = h.sum() * 0
            return {
                "importance": h.new_zeros(shape),
                "cluster_mask": torch.zeros(shape, dtype=torch.bool, device=h.device),
                "tokens": torch.full(shape, -1, device=h.device),
                "assignment": torch.full_like(graph.chain, -1),
                "membership": h.new_zeros(len(h)),
                "losses": {"vq": zero, "entropy": zero, "coverage": zero},
            }
        return {
            "importance": answer.importance,
            "cluster_mask": partition.mask,
            "tokens": quantized.codes,
            "assignment": partition.assignment,
            "membership": partition.membership,
            "losses": {
                "vq": self.settings.codebook_beta * quantized.commitment,
                "entropy": quantized.entropy,
                "coverage": quantized.coverage,
            },
        }

    @property
    def reads_surroundings(self) -> bool:
        """Whether the answer depends on the surroundings of the residues."""
        return self.reading is not None or self.head.pool.reads_surroundings

    @property
    def parts(self) -> list[str]:
        """Names of the parts of which the scores are a sum, in the order of `ParTokenOutput.contributions`."""
        has_substructures = self.partitioner is not None
        exists = {
            SUBSTRUCTURES: has_substructures,
            WHOLE: not has_substructures or self.settings.classify_from == "both",
            RESIDUES: self.reading is not None,
            FOLD: self.fold_branch is not None,
        }
        return [name for name, is_there in exists.items() if is_there]

    @property
    def _neighbors_of_partition(self) -> int:
        """Neighbours of a residue that are needed beside its features."""
        settings = self.settings
        needs_none = settings.partition == "none"
        needs_none |= settings.partition == "elements" and settings.exchange == "geometry"
        return 0 if needs_none else settings.num_neighbors

    def partition(self, h: Tensor, graph: ResidueGraph, surroundings: Tensor | None = None) -> Partition:
        """Cuts chains into substructures, always in full precision.

        Arguments:
            h: Residue features, `[N, dim]`.
            graph: The batch of chains.
            surroundings: Surroundings of the residues, `[N, S]`; needed if the partition follows the attention.
        """
        with torch.autocast(h.device.type, enabled=False):
            h = h.to(self.tau.dtype)
            if not isinstance(self.partitioner, RegionPartitioner):
                return self.partitioner(h, graph, self.tau)
            assert self.reading is not None and surroundings is not None, "the settings are checked"
            attention = self.reading.attend(h.detach(), graph, surroundings)
            return self.partitioner(h, graph, attention.mean(1))

    def set_epoch(self, epoch: int) -> None:
        """Sets the temperature for an epoch, counted from 0: max(tau_min, tau_init * tau_decay^epoch)."""
        settings = self.settings
        self.tau.fill_(max(settings.tau_min, settings.tau_init * settings.tau_decay**epoch))

    @torch.no_grad()
    def init_codebook(self, batches: Iterable[Mapping[str, Any]]) -> int:
        """Places the codes by k-means on the substructures of some batches.

        Without this call, the first training batch places the codes on its own substructures.

        Arguments:
            batches: The arguments of `forward` for each batch, by name.

        Returns:
            The number of substructures, on all devices.
        """
        assert self.codebook is not None, "a network without a partition has no codes"
        with self._evaluating():
            # Batch by batch, in the order in which one device would have them.
            found = torch.cat([gather_rows(self._substructures(seen)) for seen in self._look_at(batches)])
        self.codebook.start(found)
        return len(found)

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Mapping[str, Any]]) -> None:
        """Measures the mean and variance that evaluation standardises by, with the present weights.

        The running averages that training collects lag behind weights that move. Measuring them again on a hundred
        chains raised the validation accuracy of the embedded job from 0.42 to 0.79 (one run, rate 1e-3).

        Arguments:
            batches: The arguments of `forward` for each batch, by name.
        """
        head = self.head
        with self._evaluating():
            seen = list(self._look_at(batches))
            summaries = [head.pool(one.h, one.graph, one.surroundings) for one in seen]
            head.standardise.calibrate(*_moments(torch.cat(summaries)))
            if self.codebook is not None:
                self.codebook.calibrate(*_moments(torch.cat([self._substructures(one) for one in seen])))
            if self.reading is not None:
                averages = [
                    self.reading.average(one.h, one.graph, one.surroundings)
                    for one in seen
                    if one.surroundings is not None
                ]
                self.reading.standardise.calibrate(*_moments(torch.cat(averages)))
            if head.standardise_answer is not None:
                # What the classifier reads of the substructures depends on the averages that were just measured.
                head.standardise_answer.calibrate(*_moments(torch.cat([self._read(one) for one in seen])))

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Puts the network into evaluation mode for a while."""
        was_training = self.training
        self.eval()
        yield
        self.train(was_training)

    def _look_at(self, batches: Iterable[Mapping[str, Any]]) -> Iterator[_Seen]:
        """Computes the features of batches, which are the arguments of `forward` by name, up to the partition."""
        for batch in batches:
            given = {name: batch[name] for name in batch if name not in ("share", "fold", "surroundings")}
            h, graph = self.embed(**given, num_neighbors=self._neighbors_of_partition)
            surroundings = batch.get("surroundings")
            if self.reads_surroundings and surroundings is None:
                surroundings = compute_surroundings(batch["coords"], batch["ptr"])
            partition = None if self.partitioner is None else self.partition(h, graph, surroundings)
            yield _Seen(h, graph, surroundings, partition)

    def _substructures(self, seen: _Seen) -> Tensor:
        """Returns the vectors of all substructures before they are standardised, `[M, code_dim]`."""
        assert seen.partition is not None, "a network without a partition has no substructures"
        return self.to_code(seen.partition.features)[seen.partition.mask]

    def _read(self, seen: _Seen) -> Tensor:
        """Returns what the classifier reads of the substructures before it is standardised, `[B, dim]`."""
        assert seen.partition is not None, "a network without a partition has no substructures"
        summary = self.head.summarise(seen.h, seen.graph, seen.surroundings)
        tokens = self._tokens(self._quantize(seen.partition))
        return self.head.read(tokens, seen.partition, seen.graph, summary)[0]


def _build_partitioner(dim: int, settings: NetworkSettings) -> Partitioner | ElementPartitioner | RegionPartitioner:
    if settings.partition in FOLLOW_ATTENTION:
        along_chain = settings.partition == "stretches"
        return RegionPartitioner(settings.max_clusters, settings.cluster_size_max, along_chain=along_chain)
    if settings.partition == "elements":
        return ElementPartitioner(settings.max_clusters)
    return Partitioner(
        dim,
        settings.nhid,
        max_clusters=settings.max_clusters,
        k_hop=settings.k_hop,
        cluster_size_max=settings.cluster_size_max,
        termination_threshold=settings.termination_threshold,
        learned=settings.partition == "learned",
    )


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Computes mean and variance `[dim]` over the vectors `[M, dim]` of all processes."""
    count = total(x.new_tensor(float(len(x)))).clamp(min=1)
    mean = total(x.sum(0)) / count
    return mean, total((x - mean).square().sum(0)) / count
