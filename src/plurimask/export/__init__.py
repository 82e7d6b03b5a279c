"""Trained panels for other runtimes: written with PyTorch, drawn from with NumPy and ONNX Runtime alone."""
