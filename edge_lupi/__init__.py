"""edge-lupi: a student that hears, taught by a teacher that sees, made small enough to live beside a microphone."""

__version__ = "0.1.0"
__all__ = ["__version__"]
