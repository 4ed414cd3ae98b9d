"""The machine: files, locks, tables, processes, downloads, checkpoint files. Knows no domain."""
