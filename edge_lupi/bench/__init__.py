"""Measuring a bundle on the device in hand."""
