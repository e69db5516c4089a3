"""The real process, seen from outside."""
