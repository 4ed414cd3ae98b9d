"""Protein chains: one backbone, many in memory or on disk, and a batch."""
