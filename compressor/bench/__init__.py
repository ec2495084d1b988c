"""Measure ONNX files; needs the standard library, numpy and onnxruntime, and nothing else of compressor."""
