"""How a network reads the residue features that users bring."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from partoken.errors import UserError
from partoken.protein.model.settings import feature_width

__all__ = ["FeatureInput", "check_feature_width"]


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


def check_feature_width(checkpoint: Mapping[str, Any], width: int) -> None:
    """Rejects the checkpoint of a network that reads another number of residue features.

    Arguments:
        checkpoint: its content.
        width: number of features that this network reads of each residue; 0: none.

    Raises:
        UserError: the checkpoint says another number.
    """
    saved = feature_width(checkpoint.get("hyper_parameters", {}).get("data", {}))
    if saved != width:
        raise UserError(
            f"the checkpoint is of a network that reads {saved} features of each residue, and this one reads {width}: "
            "set data.residue_features as in the run of the checkpoint"
        )
