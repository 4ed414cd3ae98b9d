"""Structure models that explain themselves, trained with a learning rate that does exactly what it says."""

from typing import TYPE_CHECKING, Any

from partoken.version import __version__

if TYPE_CHECKING:
    from partoken.protein.predict import Predictor

__all__ = ["__version__", "load"]


def load(checkpoint: Any, device: str | None = None) -> "Predictor":
    """Loads a trained model that classifies structures: `partoken.load("best.ckpt").predict("folder")`.

    See `partoken.protein.predict.Predictor`.
    """
    from partoken.protein.predict import Predictor  # torch: only where a model is loaded

    return Predictor(checkpoint, device)
