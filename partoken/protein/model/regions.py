"""A partition that follows the attention over residues: compact regions around what the labels look at."""

from torch import Tensor, nn

from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.geometry.regions import find_regions
from partoken.protein.model.elements import average_members
from partoken.protein.model.partition import Partition

__all__ = ["RegionPartitioner"]


class RegionPartitioner(nn.Module):
    """Creates a partitioner whose substructures are regions of large scores; nothing in it is learned or drawn.

    See also:
        `partoken.protein.geometry.regions.find_regions`, which decides.

    Arguments:
        max_clusters: Largest number K of substructures in a chain.
        size: Largest number of residues in a substructure.
    """

    def __init__(self, max_clusters: int, size: int):
        super().__init__()
        self.max_clusters = max_clusters
        self.size = size

    def forward(self, h: Tensor, graph: ResidueGraph, scores: Tensor) -> Partition:
        """Partitions the chains of a graph; training and evaluation give the same substructures.

        Arguments:
            h: Residue features, `[N, dim]`.
            graph: The batch of chains.
            scores: Score of each residue, `[N]`, 0 or more. No gradient flows into them.
        """
        regions = find_regions(graph, scores, self.size, self.max_clusters)
        return average_members(h, graph, regions.assignment, regions.mask)
