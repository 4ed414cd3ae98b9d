"""From labelled chains to training batches: classes, splits, batches, the data module."""
