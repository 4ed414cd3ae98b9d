"""Real protein chains that ship with the package; NOTICE names their sources."""
