"""Illustrated report of a measurement: one HTML file without outside assets."""
