"""tfx-edge on Kubeflow Pipelines."""
