"""Whom we ask (gates) and whom we tell (sinks)."""
