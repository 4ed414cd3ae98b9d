"""The schedule: how the learning rate moves."""
