"""What a chain keeps of the names that its file gives to residues."""

import os

from partoken.protein.chains.backbone import ResidueNames
from partoken.protein.sources.mmcif import FIRST_MISSING
from partoken.protein.sources.molecules import ListedChain

__all__ = ["residue_names"]


def residue_names(file: str | os.PathLike[str], chain: ListedChain) -> ResidueNames:
    """Returns how a file names the residues of a chain.

    Arguments:
        file: the file, or a member of an archive.
        chain: the chain as the file lists it.
    """
    return ResidueNames(
        file=file,
        numbers=["" if abs(number) >= FIRST_MISSING else str(number) for number in chain.numbers.tolist()],
        insertion_codes=[_letter(code) for code in chain.icodes.tolist()],
        names=chain.residue_names.tolist(),
        points=chain.coords,
    )


def _letter(code: int) -> str:
    """Returns an insertion code from its number in `Atoms`.

    >>> _letter(0), _letter(65), _letter(-66)
    ('', 'A', 'B')
    """
    return abs(code).to_bytes(8, "little").rstrip(b"\0").decode("ascii", "replace")
