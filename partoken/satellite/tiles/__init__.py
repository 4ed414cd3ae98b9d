"""Tiles: one and many, as files and in memory."""
