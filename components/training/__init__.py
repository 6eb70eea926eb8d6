"""Fitting tf_keras models: resumed after a killed process, repeatable, and telling how it goes."""
