"""tfx-edge on Kubeflow Pipelines and Vertex AI: compile a pipeline, run it, schedule it.

Needs the extra ``kubeflow``. Not to be confused with the package ``kubeflow`` of the Kubeflow project: this one is
imported as ``tfx_edge.kubeflow``.
"""
