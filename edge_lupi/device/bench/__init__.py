"""Measuring a listener on this device: time per hop by part, streams in time, cold start, energy."""
