"""Example pipelines that run as they are."""
