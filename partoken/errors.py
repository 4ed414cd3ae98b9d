"""Mistakes of the user's, told apart from mistakes of ours."""

__all__ = ["UserError"]


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message names the key or file, what was found, what is allowed and the fix. The commands print it
    without a traceback and exit with status 2.
    """
