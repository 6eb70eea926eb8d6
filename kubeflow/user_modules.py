"""User modules on a cluster: the image holds them, and components import them by name.

TFX packs a ``module_file`` as a wheel into the pipeline root while it compiles. That asks for the right to write to the
object store wherever a pipeline is compiled, and for pip in every task. An image holds the package and the pipeline's
modules anyway, so a ``module_file`` becomes the ``module_path`` of the same module there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfx.components.util.udf_utils import UserModuleFilePipDependency
from tfx.dsl.components.base.base_component import BaseComponent


def module_files(nodes: list[Any]) -> dict[str, list[tuple[BaseComponent, str, str]]]:
    """The module files of components that TFX would pack.

    Returns:
      By file: the components, each with the keys of its module file and its module path.
    """
    found: dict[str, list[tuple[BaseComponent, str, str]]] = {}
    for node in nodes:
        for dependency in getattr(node, "_pip_dependencies", ()):
            if isinstance(dependency, UserModuleFilePipDependency):
                file = node.spec.exec_properties[dependency.module_file_key]
                if isinstance(file, str):
                    found.setdefault(file, []).append((node, dependency.module_file_key, dependency.module_path_key))
    return found


def problems(nodes: list[Any]) -> list[str]:
    """Module files that are not there, or that could not be told apart in an image."""
    files = module_files(nodes)
    found = [
        f"{', '.join(node.id for node, *_ in users)}: there is no module file {file!r}; give a file on this machine, "
        "or a module_path that the image has"
        for file, users in files.items()
        if not Path(file).is_file()
    ]
    by_name: dict[str, list[str]] = {}
    for file in files:
        by_name.setdefault(Path(file).stem, []).append(file)
    for name, same in by_name.items():
        if len(same) > 1:
            found.append(
                f"the module files {', '.join(same)} are both module {name!r} in an image; rename one, or put them "
                "into packages and give module_path"
            )
    return found


def use_modules_of_image(nodes: list[Any]) -> list[Path]:
    """Lets components import what their module files hold.

    Returns:
      The files that the image must hold as modules.
    """
    files = module_files(nodes)
    for file, users in files.items():
        for node, file_key, path_key in users:
            node.spec.exec_properties[file_key] = None
            node.spec.exec_properties[path_key] = Path(file).stem
            node._pip_dependencies = [
                dependency
                for dependency in node._pip_dependencies
                if not isinstance(dependency, UserModuleFilePipDependency)
            ]
    return sorted(Path(file) for file in files)
