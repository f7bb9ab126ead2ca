"""Corpora -> batches of crops that students learn from."""
