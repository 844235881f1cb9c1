"""breakeven: the open-source, local-first inference desk."""

__version__ = "0.1.0"
