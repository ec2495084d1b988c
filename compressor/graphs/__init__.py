"""ONNX files: what is in them, what they do at a shape, and rewrites that keep their outputs."""
