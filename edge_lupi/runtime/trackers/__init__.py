"""Segment embeddings -> who speaks, and how: change detection, open-set identification, labels."""
