"""Executor of EdgeEvaluator."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_beam_executor, base_executor

from tfx_edge.edge_evaluator import beam
from tfx_edge.errors import EdgeError
from tfx_edge.gate.evaluation import unevaluated
from tfx_edge.report.html import render
from tfx_edge.stages import child
from tfx_edge.stages.component import package_version
from tfx_edge.stages.executor import make_request, set_property, storable


class Executor(base_beam_executor.BaseBeamExecutor):
    """Measures in child processes, judges, and always writes a verdict."""

    def __init__(self, context: base_executor.BaseExecutor.Context | None = None) -> None:
        # Not Beam's own, which packs all of TFX for workers (5 s) even where there are none.
        base_executor.BaseExecutor.__init__(self, context)
        self.beam_pipeline_args = list(getattr(context, "beam_pipeline_args", None) or ())

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Writes both blessings and the report; see the component for inputs, outputs and properties."""
        node = self._context.pipeline_node if self._context else None
        name = node.node_info.id if node else "EdgeEvaluator"
        try:
            properties = {**exec_properties, "name": name, **self._beam_job()}
            request = make_request("EdgeEvaluator", input_dict, output_dict, properties)
            report = child.run("tfx_edge.edge_evaluator.work:evaluate", request)
        except EdgeError as error:
            report = unevaluated(f"the candidate could not be evaluated: {error}", name)
        except Exception as error:
            child.LOGGER.exception("EdgeEvaluator: the evaluation could not be started")
            report = unevaluated(f"the candidate could not be evaluated: {error!r}", name)
        artifact = output_dict["report"][0]
        try:
            _write(Path(artifact.uri), report)
        except (OSError, ValueError) as error:
            shutil.rmtree(artifact.uri, ignore_errors=True)
            report = unevaluated(f"the report could not be written, so there is no verdict to trust: {error}", name)
        verdict = report["verdict"]
        child.LOGGER.info(
            "EdgeEvaluator: %s: %s", "blessed" if verdict["blessed"] else "NOT blessed", verdict["reason"]
        )
        for key, value in _figures(report).items():
            set_property(artifact, key, value)
        set_property(artifact, "remedy", verdict["remedy"] and storable(verdict["remedy"][:1000]))
        _stamp(artifact, report)
        _bless(input_dict, output_dict, report, name)

    def _beam_job(self) -> dict[str, Any]:
        if not beam.has_workers(self.beam_pipeline_args):
            return {}
        return {"beam_pipeline_args": self.beam_pipeline_args, "beam_folder": self._get_tmp_dir()}


def _write(folder: Path, report: dict[str, Any]) -> None:
    """Writes the page, and then the report, which takes its name when all of it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2, sort_keys=True, allow_nan=False)
    try:
        page = render([report])
    except Exception:
        child.LOGGER.exception("EdgeEvaluator: report.html could not be drawn; report.json holds all of it")
    else:
        (folder / "report.html").write_text(page)
    part = folder / "report.json.part"
    part.write_text(text)
    part.replace(folder / "report.json")


def _figures(report: dict[str, Any]) -> dict[str, float]:
    """Each figure and its bounds by name: those of the first target, and those of others behind the target's name."""
    figures: dict[str, float] = {}
    for number, (target, judged) in enumerate(report["targets"].items()):
        for name, estimate in judged["candidate"].items():
            key = f"{target}.{name}" if number else name
            figures[key] = estimate["value"]
            if estimate["sample_unit"]:
                figures |= {f"{key}_{side}": estimate[side] for side in ("low", "high")}
    return {key: figure for key, figure in figures.items() if figure is not None}


def _bless(input_dict: dict[str, Any], output_dict: dict[str, Any], report: dict[str, Any], node_id: str) -> None:
    model = input_dict["model"][0]
    blessing = output_dict["blessing"][0]
    blessed = report["verdict"]["blessed"]
    _mark(blessing, *_in_order("BLESSED", "NOT_BLESSED", blessed))
    _stamp(blessing, report)
    blessing.set_string_custom_property("current_model", model.uri)
    blessing.set_int_custom_property("current_model_id", model.id)
    if input_dict.get("baseline_model"):
        baseline = input_dict["baseline_model"][0]
        blessing.set_string_custom_property("baseline_model", baseline.uri)
        blessing.set_int_custom_property("baseline_model_id", baseline.id)
    blessing.set_string_custom_property("component_id", node_id)
    infra = output_dict["infra_blessing"][0]
    _mark(infra, *_in_order("INFRA_BLESSED", "INFRA_NOT_BLESSED", blessed))
    _stamp(infra, report)
    infra.set_int_custom_property("has_model", 0)
    if report["verdict"]["interrupted"] and not blessed:
        # TFX's cache answers only while all folders are there, so the next run judges anew.
        shutil.rmtree(infra.uri)


def _in_order(positive: str, negative: str, blessed: bool) -> tuple[str, str]:
    return (positive, negative) if blessed else (negative, positive)


def _mark(artifact: Any, name: str, other: str) -> None:
    """Leaves the file of one verdict in the artifact's folder; an earlier attempt may have left that of the other."""
    Path(artifact.uri).mkdir(parents=True, exist_ok=True)
    Path(artifact.uri, other).unlink(missing_ok=True)
    Path(artifact.uri, name).touch()


def _stamp(artifact: Any, report: dict[str, Any]) -> None:
    artifact.set_int_custom_property("blessed", int(report["verdict"]["blessed"]))
    artifact.set_string_custom_property("reason", storable(report["verdict"]["reason"][:1000]))
    artifact.set_string_custom_property("tfx_edge_version", package_version())
    if report["sha256"]:
        artifact.set_string_custom_property("sha256", report["sha256"])
