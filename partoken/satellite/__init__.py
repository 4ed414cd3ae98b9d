"""Radar tiles in, optical tiles out."""
