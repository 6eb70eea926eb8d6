"""Runs a pipeline on Airflow, each node as a task, the way TFX's other runners run it.

TFX's own runner for Airflow launches nodes by code that is older than TFX's pipeline IR. In ML Metadata it names an
output after its key and the run alone, so a run fails where two nodes have an ``edge_model``, and a task that failed
can never run again. Here each task is handed to the launcher that LocalDagRunner and BeamDagRunner use.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from airflow import models
from airflow.exceptions import AirflowSkipException
from airflow.models.param import Param
from airflow.operators.python import PythonOperator
from tfx.dsl.compiler import constants
from tfx.orchestration import data_types_utils, metadata
from tfx.orchestration.airflow import airflow_dag_runner
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import inputs_utils, launcher, runtime_parameter_utils, tfx_runner
from tfx.orchestration.portable.mlmd import context_lib, execution_lib
from tfx.proto.orchestration import pipeline_pb2
from tfx.utils import telemetry_utils

from tfx_edge.errors import ConfigError, EdgeError

AirflowPipelineConfig = airflow_dag_runner.AirflowPipelineConfig
_OWN = (constants.PIPELINE_RUN_ID_PARAMETER_NAME, constants.PIPELINE_ROOT_PARAMETER_NAME)  # parameters that TFX adds


class AirflowDagRunner(tfx_runner.IrBasedRunner):
    """Takes the place of TFX's AirflowDagRunner, with retries, clearing, and any number of outputs of one name.

    ``run`` returns the DAG. Every RuntimeParameter, of any type, becomes a parameter of the DAG with its default: it is
    shown when a run is triggered by hand, and a run's ``conf`` may replace it, by a JSON object where it holds JSON.

    Args:
      config: an `AirflowPipelineConfig`, whose ``airflow_dag_config`` holds arguments of Airflow's DAG. Its launchers
        and component configurations are not used.
    """

    def __init__(self, config: AirflowPipelineConfig | None = None) -> None:
        self._config = config or AirflowPipelineConfig()

    def run_with_ir(
        self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None, **kwargs: Any
    ) -> models.DAG:
        """Makes the DAG of a compiled pipeline.

        Raises:
          ConfigError: the pipeline holds another pipeline, or only a part of it is to run.
        """
        name = pipeline.pipeline_info.id
        if run_options is not None:
            raise ConfigError(f"{name}: run_options cannot be used on Airflow: clear the tasks that are to run again")
        settings = dict(self._config.airflow_dag_config)
        params = {key: Param(default) for key, default in _parameters(pipeline).items()} | settings.pop("params", {})
        dag = models.DAG(dag_id=name, params=params, **settings)
        tasks: dict[str, PythonOperator] = {}
        for each in pipeline.nodes:
            if each.WhichOneof("node") != "pipeline_node":
                raise ConfigError(f"{name}: a pipeline in a pipeline cannot run on Airflow: make a DAG of each")
            node = each.pipeline_node
            node_id = node.node_info.id
            tasks[node_id] = PythonOperator(
                task_id=node_id, dag=dag, python_callable=functools.partial(run_node, pipeline, node_id)
            )
            tasks[node_id].set_upstream([tasks[upstream] for upstream in node.upstream_nodes])
        return dag


def run_node(pipeline: pipeline_pb2.Pipeline, node_id: str, **context: Any) -> None:
    """Runs one node of a pipeline in a task of Airflow.

    A node that succeeded in the same DAG run is not run again.

    Args:
      pipeline: the compiled pipeline.
      node_id: the node.
      context: of the task, from Airflow.

    Raises:
      ConfigError: the run's ``conf`` names a parameter that is not there.
      EdgeError: the node's inputs could not be found, or it succeeded in this DAG run with other properties.
      AirflowSkipException: the pipeline skips the node.
    """
    dag_run = context["dag_run"]
    given = context["params"]
    unknown = sorted(set(dag_run.conf or {}) - set(context["dag"].params))
    if unknown:
        raise ConfigError(
            f"{dag_run.dag_id}: conf has {', '.join(unknown)}, which is no parameter of this DAG: give "
            + (", ".join(context["dag"].params) or "none, since it has no RuntimeParameter")
        )
    bound = pipeline_pb2.Pipeline()
    bound.CopyFrom(pipeline)
    bindings = {name: _property(given[name]) for name in _parameters(pipeline)}
    bindings[constants.PIPELINE_RUN_ID_PARAMETER_NAME] = dag_run.run_id
    runtime_parameter_utils.substitute_runtime_parameter(bound, bindings)
    deployment = runner_utils.extract_local_deployment_config(bound)
    store = deployment.metadata_connection_config
    connection = metadata.Metadata(getattr(store, store.WhichOneof("connection_config")))
    executor = runner_utils.extract_executor_spec(deployment, node_id)
    (node,) = (each.pipeline_node for each in bound.nodes if each.pipeline_node.node_info.id == node_id)
    if _succeeded(connection, node, renew=executor is not None) and executor is None:
        return  # the launcher would run a Resolver or an Importer again, whose outputs of both times would count
    with telemetry_utils.scoped_labels({telemetry_utils.LABEL_TFX_RUNNER: "airflow"}):
        info = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=connection,
            pipeline_info=bound.pipeline_info,
            pipeline_runtime_spec=bound.runtime_spec,
            executor_spec=executor,
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
        ).launch()
    _check(connection, node_id, info)


def _parameters(pipeline: pipeline_pb2.Pipeline) -> dict[str, Any]:
    """The default of every RuntimeParameter of the pipeline's author by its name."""
    copy = pipeline_pb2.Pipeline()
    copy.CopyFrom(pipeline)
    defaults = runtime_parameter_utils.substitute_runtime_parameter(copy, {})
    return {name: default for name, default in defaults.items() if name not in _OWN}


def _property(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list)) else value


def _succeeded(connection: metadata.Metadata, node: pipeline_pb2.PipelineNode, renew: bool) -> bool:
    """Whether a node succeeded in this run already.

    Args:
      connection: to ML Metadata.
      node: the node.
      renew: whether to bring the properties of an execution that did not succeed up to date: the launcher takes up a
        component's as it is.

    Raises:
      EdgeError: it succeeded with other properties, and its outputs would stand for these.
    """
    parameters = inputs_utils.resolve_parameters_with_schema(node_parameters=node.parameters)
    properties = data_types_utils.build_parsed_value_dict(parameters)
    succeeded = False
    with connection as handle:
        contexts = context_lib.prepare_contexts(handle, node.contexts)
        for execution in execution_lib.get_executions_associated_with_all_contexts(handle, contexts):
            fresh = execution_lib.prepare_execution(
                handle, node.node_info.type, execution.last_known_state, properties
            ).custom_properties
            changed = [name for name, value in fresh.items() if execution.custom_properties[name] != value]
            if execution_lib.is_execution_successful(execution):
                if changed:
                    raise EdgeError(
                        f"{node.node_info.id}: it succeeded in this DAG run already, with another value of "
                        f"{', '.join(changed)}: start a new DAG run, where the cache answers for what did not change"
                    )
                succeeded = True
            elif changed and renew:
                for name in changed:
                    execution.custom_properties[name].CopyFrom(fresh[name])
                handle.store.put_executions([execution])
    return succeeded


def _check(connection: metadata.Metadata, node_id: str, info: Any) -> None:
    """Raises unless the node succeeded; the launcher only logs that inputs were not found."""
    if info is None or info.execution_id is None:
        raise AirflowSkipException(f"{node_id}: skipped by the pipeline")
    with connection as handle:
        (execution,) = handle.store.get_executions_by_id([info.execution_id])
    if not execution_lib.is_execution_successful(execution):
        raise EdgeError(f"{node_id}: its inputs could not be found; the log above says which")
