"""Structure models that explain themselves, trained with a learning rate that follows its schedule exactly."""

from typing import TYPE_CHECKING, Any

from partoken.version import __version__

if TYPE_CHECKING:
    from partoken.protein.predict import Predictor

__all__ = ["__version__", "load"]


def load(checkpoint: Any, device: str | None = None, residue_features: Any = None) -> "Predictor":
    """Loads a trained model that classifies structures: `partoken.load("best.ckpt").predict("folder")`.

    `partoken.load("enzymes")` loads weights that ship with the package.

    See also:
        `partoken.protein.predict.Predictor`, for the arguments and errors.
    """
    from partoken.protein.predict import Predictor  # here, so that `import partoken` does not import torch

    return Predictor(checkpoint, device, residue_features)
