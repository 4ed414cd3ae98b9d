"""The facts behind report pages: chains, their substructures, the dictionary of tokens, and the model."""
