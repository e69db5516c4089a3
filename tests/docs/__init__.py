"""The README against the real process: each of its code blocks is executed or compared."""
