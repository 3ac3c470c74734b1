"""Networks as files for other tools: ONNX."""
