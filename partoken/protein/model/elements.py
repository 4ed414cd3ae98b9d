"""A partition without parameters: the helices and strands of a chain, with the residues between them."""

from torch import Tensor, nn

from partoken.protein.geometry.elements import find_elements
from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.model.partition import Partition

__all__ = ["ElementPartitioner", "average_members"]


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
        return average_members(h, graph, elements.assignment, elements.mask, elements.core)


def average_members(
    h: Tensor, graph: ResidueGraph, assignment: Tensor, mask: Tensor, core: Tensor | None = None
) -> Partition:
    """Returns a partition whose features are the means of the residues; each residue is in its substructure for sure.

    Arguments:
        h: Residue features, `[N, dim]`.
        graph: The batch of chains.
        assignment: Substructure of each residue, `[N]` int64, -1 for none.
        mask: True where a substructure exists, `[B, K]` bool.
        core: Residues that give a substructure its place and direction, `[N]` bool; None: all of its residues.
    """
    most = mask.shape[1]
    present = assignment >= 0
    cell = graph.chain * most + assignment.clamp(min=0)
    size = graph.num_chains * most
    weight = present.to(h.dtype)
    total = h.new_zeros(size, h.shape[1]).index_add(0, cell, h * weight[:, None])
    count = h.new_zeros(size).index_add(0, cell, weight)
    features = total / count.clamp(min=1)[:, None]
    return Partition(
        features=features.view(graph.num_chains, most, -1),
        mask=mask,
        assignment=assignment,
        membership=weight,
        core=core,
    )
