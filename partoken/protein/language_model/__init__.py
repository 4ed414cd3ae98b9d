"""Residue features from a protein language model: `python -m partoken.protein.language_model`."""
