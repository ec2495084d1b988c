"""ONNX files: their content, their operations at a shape, and rewrites that keep their outputs."""
