"""Export the policy to ONNX."""
