"""Scripts that open structures in PyMOL and ChimeraX and colour them by importance."""

from collections.abc import Sequence

__all__ = ["SHOWN", "chimerax_script", "pymol_script"]

SHOWN = 50
"""Largest number of chains that a script opens; the lines of others are comments."""


def pymol_script(files: Sequence[str]) -> str:
    """Returns a script for PyMOL; `files` are safe names, relative to the folder of the script."""
    return _script(
        "pymol importance.pml",
        [f"load {file}" for file in files],
        [
            "hide everything",
            "show cartoon, polymer",
            "show sticks, organic",
            "spectrum b, white yellow red, polymer, minimum=0, maximum=100",
            "show sticks, byres (polymer and b > 50)",
            *(["set grid_mode, 1"] if len(files) > 1 else []),
            "orient",
        ],
    )


def chimerax_script(files: Sequence[str]) -> str:
    """Returns a script for ChimeraX; `files` are safe names, relative to the folder of the script."""
    return _script(
        "chimerax importance.cxc",
        [f"open {file}" for file in files],
        [
            "hide atoms",
            "show cartoons",
            "show ligand atoms",
            "color bfactor protein palette white:yellow:red range 0,100",
            "show protein & @@bfactor>50 atoms",
            "style protein stick",
            *(["tile"] if len(files) > 1 else []),
            "view",
        ],
    )


def _script(start: str, opening: Sequence[str], colouring: Sequence[str]) -> str:
    lines = [
        "# The B factor of a residue is its importance in percent of the most important residue of its chain:",
        "# white 0, yellow 50, red 100. Residues above 50 also show their atoms.",
        f"# Start it in this folder: {start}",
        *opening[:SHOWN],
    ]
    if len(opening) > SHOWN:
        lines.append(f"# {len(opening) - SHOWN} more chains; remove the # of those to see:")
        lines += [f"# {line}" for line in opening[SHOWN:]]
    return "\n".join([*lines, *colouring]) + "\n"
