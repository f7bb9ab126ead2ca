"""What runs a graph: ONNX Runtime, TensorRT, TensorRT-RTX; and which of them may."""
