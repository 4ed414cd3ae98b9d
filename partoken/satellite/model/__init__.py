"""The networks, in plain `torch.nn`."""
