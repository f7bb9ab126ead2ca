"""Pretrained teachers: ONNX files, tables of vectors, the project's own."""
