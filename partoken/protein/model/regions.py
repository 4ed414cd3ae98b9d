"""A partition that follows the attention over residues: regions around what the labels look at."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.geometry.regions import find_regions
from partoken.protein.model.elements import average_members
from partoken.protein.model.partition import Partition

__all__ = ["RegionPartitioner"]


class RegionPartitioner(nn.Module):
    """Creates a partitioner whose substructures are regions of large scores; nothing in it is learned or drawn.

    The weight of a substructure is its share of the scores, so the importance of substructures and that of residues
    agree.

    See also:
        `partoken.protein.geometry.regions.find_regions`, which decides.

    Arguments:
        max_clusters: Largest number K of substructures in a chain.
        size: Largest number of residues in a substructure.
        along_chain: True: substructures are stretches of the chain. False: they are compact in space.
    """

    def __init__(self, max_clusters: int, size: int, *, along_chain: bool = False):
        super().__init__()
        self.max_clusters = max_clusters
        self.size = size
        self.along_chain = along_chain

    def forward(self, h: Tensor, graph: ResidueGraph, scores: Tensor) -> Partition:
        """Partitions the chains of a graph; training and evaluation give the same substructures.

        Arguments:
            h: Residue features, `[N, dim]`.
            graph: The batch of chains.
            scores: Score of each residue, `[N]`, 0 or more. They get a gradient through the weights.
        """
        regions = find_regions(graph, scores.detach(), self.size, self.max_clusters, along_chain=self.along_chain)
        partition = average_members(h, graph, regions.assignment, regions.mask)
        inside = regions.assignment >= 0
        cell = graph.chain * self.max_clusters + regions.assignment.clamp(min=0)
        held = scores.new_zeros(regions.mask.numel()).index_add(0, cell, scores * inside).view(regions.mask.shape)
        least = torch.finfo(held.dtype).tiny
        return replace(partition, weight=held / held.sum(1, keepdim=True).clamp(min=least))
