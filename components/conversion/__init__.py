"""From a trained model to a `.tflite` that computes the same."""
