"""The real tiles that ship with the package; NOTICE names their source and licence."""
