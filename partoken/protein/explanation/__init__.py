"""Files that show which residues decided: tables, structures coloured by importance, and scripts for viewers."""
