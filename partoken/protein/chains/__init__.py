"""One chain and many: in memory, on disk, in a batch."""
