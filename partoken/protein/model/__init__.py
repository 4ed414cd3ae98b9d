"""The network, in plain `torch.nn`."""
