"""Handwritten digits: the pipeline that shows every component at work."""
