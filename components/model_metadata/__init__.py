"""TFLite's standard model metadata: written, read, checked."""
