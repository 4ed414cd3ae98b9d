"""A partition without parameters: the helices and strands of a chain, with the residues between them."""

from torch import Tensor, nn

from partoken.protein.geometry.elements import find_elements
from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.model.partition import Partition

__all__ = ["ElementPartitioner"]


class ElementPartitioner(nn.Module):
    """Creates a partitioner whose substructures are the elements of a chain; nothing is learned or drawn.

    See also:
        `partoken.protein.geometry.elements.find_elements`, which decides.

    Arguments:
        max_clusters: Largest number K of substructures in a chain.

    Example:
        >>> import torch
        >>> from partoken.protein.geometry.graph import featurize
        >>> _ = torch.manual_seed(0)
        >>> graph = featurize(torch.randn(50, 4, 3).cumsum(0), torch.tensor([0, 20, 50]))
        >>> partition = ElementPartitioner(4)(torch.randn(50, 8), graph, torch.tensor(1.0))
        >>> partition.features.shape, partition.assignment.shape
        (torch.Size([2, 4, 8]), torch.Size([50]))
    """

    def __init__(self, max_clusters: int):
        super().__init__()
        self.max_clusters = max_clusters

    def forward(self, h: Tensor, graph: ResidueGraph, tau: Tensor) -> Partition:
        """Partitions the chains of a graph; training and evaluation give the same substructures.

        Arguments:
            h: Residue features, `[N, dim]`.
            graph: The batch of chains.
            tau: Temperature, which has no effect.
        """
        elements = find_elements(graph, self.max_clusters)
        present = elements.assignment >= 0
        cell = graph.chain * self.max_clusters + elements.assignment.clamp(min=0)
        size = graph.num_chains * self.max_clusters
        weight = present.to(h.dtype)
        total = h.new_zeros(size, h.shape[1]).index_add(0, cell, h * weight[:, None])
        count = h.new_zeros(size).index_add(0, cell, weight)
        features = total / count.clamp(min=1)[:, None]
        return Partition(
            features=features.view(graph.num_chains, self.max_clusters, -1),
            mask=elements.mask,
            assignment=elements.assignment,
            membership=weight,
            core=elements.core,
        )
