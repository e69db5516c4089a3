"""Translators between the wire and commands: pure, one file per protocol."""
