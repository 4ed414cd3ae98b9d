"""Protein structures in, tokens and classes out."""
