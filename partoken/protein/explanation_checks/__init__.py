"""Whether explanations are true: known sites, deletion, stability, codes, planted motifs."""
