"""Names of files that are safe on every system and in every script, whatever a chain is called."""

import re

__all__ = ["FileNames"]

_LONGEST = 80
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names that Windows keeps for devices."""


class FileNames:
    """Gives each chain a file name of its own: letters, digits, `.`, `_` and `-`, with a letter or digit in front.

    Example:
        >>> names = FileNames()
        >>> names.name("1abc_A"), names.name("1ABC_a"), names.name("../<script>")
        ('1abc_A', '1ABC_a_2', 'script')
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, wanted: str) -> str:
        """Returns the wanted name if it is safe and free, or one like it.

        Names that differ in upper and lower case alone count as the same, because some systems have one file for both.
        """
        safe = re.sub(r"[^A-Za-z0-9._-]+|\.{2,}", "_", wanted).strip("._-")[:_LONGEST] or "chain"
        if _RESERVED.match(safe):
            safe = f"chain_{safe}"
        free, number = safe, 1
        while free.lower() in self._taken:
            number += 1
            free = f"{safe}_{number}"
        self._taken.add(free.lower())
        return free
