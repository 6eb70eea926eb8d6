"""Where a .tflite is measured."""
