"""Any model as a teacher: ONNX files, tables, the project's own."""
