"""Maps the import package ``tfx_edge`` onto the top-level folders; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

ROOTS = {"tfx_edge": "components", "tfx_edge.pipelines": "pipelines", "tfx_edge.kubeflow": "kubeflow"}

setup(
    package_dir=ROOTS,
    packages=[
        name for root, folder in ROOTS.items() for name in (root, *(f"{root}.{sub}" for sub in find_packages(folder)))
    ],
    package_data={
        "tfx_edge": ["py.typed"],
        "tfx_edge.report": ["templates/*"],
        "tfx_edge.pipelines.scaffold": ["template/*", "template/*/*"],
    },
)
