"""Reads the examples of a pipeline without TensorFlow, which takes many times longer to import than this to run."""
