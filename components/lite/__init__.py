"""All that reads, makes or changes a .tflite file."""
