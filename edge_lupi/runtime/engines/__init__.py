"""What runs a graph: ONNX Runtime, TensorRT, TensorRT-RTX, ONNX Runtime's own providers for GPUs; and which of them may."""
