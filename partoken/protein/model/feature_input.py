"""How a network reads the residue features that users bring."""

from torch import Tensor, nn

from partoken.errors import UserError

__all__ = ["FeatureInput"]


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
