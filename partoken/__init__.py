"""Structure models that explain themselves, trained with a learning rate that does exactly what it says."""

__version__ = "0.1.0"
