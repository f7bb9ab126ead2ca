"""Corpora as one list of utterances; video beside audio."""
