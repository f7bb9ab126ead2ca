"""Offline diarisation after listening: all that was heard of a file is clustered once more."""
