"""The machine: files, locks, tables, processes, downloads, reading a checkpoint file. Knows no domain."""
