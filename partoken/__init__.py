"""Structure models that explain themselves, trained with a learning rate that follows its schedule exactly."""

from typing import TYPE_CHECKING, Any

from partoken.version import __version__

if TYPE_CHECKING:
    from partoken.protein.predict import Predictor
    from partoken.protein.sources.structures import Structures

__all__ = ["__version__", "load", "read"]


def load(checkpoint: Any, device: str | None = None, residue_features: Any = None) -> "Predictor":
    """Loads a trained model that classifies structures: `partoken.load("best.ckpt").predict("folder")`.

    `partoken.load("enzymes")` loads weights that ship with the package.

    See also:
        `partoken.protein.predict.Predictor`, for the arguments and errors.
    """
    from partoken.protein.predict import Predictor  # here, so that `import partoken` does not import torch

    return Predictor(checkpoint, device, residue_features)


def read(*paths: Any, **options: Any) -> "Structures":
    """Reads the protein chains of structure files and folders: `partoken.read("folder")`; needs no torch.

    See also:
        `partoken.protein.sources.structures.read_structures`, for the options and errors.
    """
    from partoken.protein.sources.structures import read_structures

    return read_structures(*paths, **options)
