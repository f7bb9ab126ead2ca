"""Listening: a stream's segments through a student and its trackers, as events."""
