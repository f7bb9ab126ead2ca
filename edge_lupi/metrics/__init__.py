"""Verification, classification, diarisation and confidence, with intervals."""
