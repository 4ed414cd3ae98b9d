"""Many runs: which are asked for, which are done, which are missing, and their table."""
