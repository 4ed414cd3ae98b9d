"""Types of residues as networks read them: as numbers, or as weights of all types through which gradients flow."""

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["TypeEmbedding", "type_weights"]


class TypeEmbedding(nn.Embedding):
    """Creates an embedding of types that also reads weights of types.

    Example:
        >>> import torch
        >>> embed = TypeEmbedding(21, 4)
        >>> types = torch.tensor([3, 20])
        >>> torch.equal(embed(types), embed(type_weights(types, 21).float()))
        True
    """

    def forward(self, types: Tensor) -> Tensor:
        """Embeds types `[N]` int64, or averages the embeddings of all types by weights `[N, types]`; `[N, dim]`."""
        if types.is_floating_point():
            return types.to(self.weight.dtype) @ self.weight
        return super().forward(types)


def type_weights(types: Tensor, num_types: int) -> Tensor:
    """Returns the weights of all types, `[N, types]`: 1 for the type of a residue, or the weights that are given."""
    return types if types.is_floating_point() else F.one_hot(types, num_types)
