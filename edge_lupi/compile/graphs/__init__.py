"""Graphs written, quantised, halved and checked (onnx)."""
