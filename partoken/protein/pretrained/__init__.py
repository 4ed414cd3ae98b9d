"""Trained weights that ship with the package, and the list of the chains that they know; NOTICE names their sources."""
