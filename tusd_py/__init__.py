"""A standalone resumable-upload server for video platforms: tus 1.0.0, safe against every crash."""

__version__ = "0.1.0"
