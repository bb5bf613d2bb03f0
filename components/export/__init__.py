"""Exports the policy to ONNX."""
