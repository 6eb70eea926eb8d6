"""A TFX pipeline compiled for Kubeflow Pipelines and Vertex AI, and what cannot be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("kfp", reason="the extra 'kubeflow' is not installed")

import kfp.components
import kubeflow_pipelines
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.components import ImportExampleGen, InfraValidator, StatisticsGen
from tfx.dsl.components.base import base_driver
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import infra_validator_pb2
from tfx.types import Channel, artifact
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing, Schema

import tfx_edge
from tfx_edge import Distiller, EdgeEvaluator, LiteConverter, Merger
from tfx_edge.cli import main
from tfx_edge.errors import ConfigError
from tfx_edge.kubeflow import verdicts
from tfx_edge.kubeflow.compiler import Compiled, compile_pipeline
from tfx_edge.kubeflow.loading import load
from tfx_edge.kubeflow.package import Package
from tfx_edge.kubeflow.settings import CompileSettings
from tfx_edge.pipelines.digits import pipeline

ARGO_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")


def compiled(settings: dict[str, Any] | None = None, **changes: Any) -> Compiled:
    return compile_pipeline(kubeflow_pipelines.create_pipeline(**changes), CompileSettings(**(settings or {})))


@pytest.fixture(scope="module")
def wine() -> Compiled:
    return compiled({"image": "registry/wine:1"})


def tasks(made: Compiled) -> dict[str, Any]:
    return made.spec["root"]["dag"]["tasks"]


def container(made: Compiled, task: str) -> dict[str, Any]:
    return made.spec["deploymentSpec"]["executors"][f"exec-{task}"]["container"]


def test_kfp_loads_the_file_and_the_defaults_of_parameters(wine: Compiled, tmp_path: Path) -> None:
    file = tmp_path / "wine.yaml"
    wine.write(file)
    loaded = kfp.components.load_component_from_file(str(file))
    assert loaded.component_spec.name == "wine"
    (name, parameter), *others = loaded.component_spec.inputs.items()
    assert (name, parameter.default, parameter.optional) == (
        "gate-config",
        '{"thresholds": {"accuracy": {"min": 0.9}}}',
        True,
    )
    assert others == []
    spec = json_format.ParseDict(yaml.safe_load(file.read_text()), pipeline_spec_pb2.PipelineSpec())
    assert spec.schema_version == "2.1.0"
    assert spec.default_pipeline_root == "gs://bucket/wine"


def test_every_name_is_one_that_argo_takes_and_every_reference_is_there(wine: Compiled) -> None:
    assert [name for name in tasks(wine) if not ARGO_NAME.fullmatch(name)] == []
    assert {"EdgeEvaluator-candidate", "LiteConverter-float32", "Quantizer-dynamic"} < set(tasks(wine))
    for name, task in tasks(wine).items():
        assert task["taskInfo"]["name"] == name
        component = wine.spec["components"][task["componentRef"]["name"]]
        assert component["executorLabel"] in wine.spec["deploymentSpec"]["executors"]
        inputs = task.get("inputs", {})
        producers = {source["taskOutputArtifact"]["producerTask"] for source in inputs.get("artifacts", {}).values()}
        assert producers <= set(task.get("dependentTasks", ())) <= set(tasks(wine))


def test_every_task_runs_our_entrypoint_and_knows_its_node(wine: Compiled) -> None:
    running = [name for name in tasks(wine) if not name.endswith("-blessed")]
    assert len(running) == 11
    for name in running:
        assert container(wine, name)["image"] == "registry/wine:1"
        assert container(wine, name)["command"] == ["python", "-m", "tfx_edge.kubeflow.entrypoint"]
    arguments = container(wine, "EdgeEvaluator-candidate")["args"]
    assert arguments[arguments.index("--node_id") + 1] == "EdgeEvaluator.candidate"


def test_a_marker_runs_only_behind_a_blessing(wine: Compiled) -> None:
    assert verdicts.gates(wine.spec) == {
        "EdgeEvaluator-candidate": "EdgeEvaluator-candidate-blessed",
        "EdgeEvaluator-float32": "EdgeEvaluator-float32-blessed",
    }
    assert verdicts.deciding_gates(wine.spec) == ["EdgeEvaluator-candidate"]
    marker = tasks(wine)["EdgeEvaluator-candidate-blessed"]
    ((channel, source),) = marker["inputs"]["parameters"].items()
    assert source["taskOutputParameter"] == {
        "producerTask": "EdgeEvaluator-candidate",
        "outputParameterKey": "verdict",
    }
    assert marker["triggerPolicy"]["condition"] == f"inputs.parameter_values['{channel}'] == 'blessed'"
    outputs = wine.spec["components"]["comp-EdgeEvaluator-candidate"]["outputDefinitions"]["parameters"]
    assert sorted(outputs) == ["reason", "verdict"]


def test_neither_new_data_nor_a_measurement_comes_from_the_cache(wine: Compiled) -> None:
    fresh = {name for name, task in tasks(wine).items() if not task.get("cachingOptions", {}).get("enableCache")}
    assert fresh == {"ImportExampleGen", *verdicts.gates(wine.spec), *verdicts.gates(wine.spec).values()}
    assert "lifecycle" not in container(wine, "ImportExampleGen")
    host = tasks(wine)["EdgeEvaluator-float32"]["inputs"]["parameters"]["host"]
    assert host == {"runtimeValue": {"constant": "Kubeflow: not known before it runs"}}


def test_volumes_are_mounted_in_every_task_of_tfx(tmp_path: Path) -> None:
    made = compiled({"volumes": {"wine-data": "/data"}}, push_to="/data/pushed", examples_input_base="/data/csv")
    made.write(tmp_path / "wine.yaml")
    _, platforms = yaml.safe_load_all((tmp_path / "wine.yaml").read_text())
    mounts = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert mounts["exec-Pusher"] == {"pvcMount": [{"constant": "wine-data", "mountPath": "/data"}]}
    assert set(mounts) == {f"exec-{name}" for name in tasks(made) if not name.endswith("-blessed")}
    kfp.components.load_component_from_file(str(tmp_path / "wine.yaml"))
    assert [note for note in made.notes if "/data" in note] == []


def test_a_module_file_becomes_a_module_of_the_image(tmp_path: Path) -> None:
    module = tmp_path / "wine_module.py"
    module.write_text("def preprocessing_fn(inputs): return inputs\ndef run_fn(fn_args): pass\n")
    made = compiled(
        transform_module_file=str(module), transform_preprocessing_fn=None, trainer_module_file=str(module),
        trainer_run_fn=None,
    )  # fmt: skip
    for name in ("Transform", "Trainer"):
        parameters = tasks(made)[name]["inputs"]["parameters"]
        assert parameters["module_path"] == {"runtimeValue": {"constant": "wine_module"}}
        assert "module_file" not in parameters
    assert made.modules == (module,)
    assert f"the image must hold {module} as module 'wine_module'" in made.notes


def test_a_baseline_can_be_imported_from_where_each_run_says() -> None:
    uri = RuntimeParameter("baseline-uri", ptype=str, default="gs://bucket/blessed")
    baseline = Importer(source_uri=uri, artifact_type=Model).with_id("baseline")
    made = compiled(extra=[baseline], gate_baseline_model=baseline.outputs["result"])
    executor = made.spec["deploymentSpec"]["executors"]["exec-baseline"]["importer"]
    assert executor["artifactUri"] == {"runtimeParameter": "uri"}
    assert tasks(made)["baseline"]["inputs"]["parameters"]["uri"] == {"componentInputParameter": "baseline-uri"}
    definitions = made.spec["components"]["comp-baseline"]
    assert definitions["inputDefinitions"]["parameters"]["uri"] == {"parameterType": "STRING"}
    assert list(definitions["outputDefinitions"]["artifacts"]) == ["artifact"]
    assert made.spec["root"]["inputDefinitions"]["parameters"]["baseline-uri"]["defaultValue"] == "gs://bucket/blessed"
    source = tasks(made)["EdgeEvaluator-candidate"]["inputs"]["artifacts"]["baseline_model"]["taskOutputArtifact"]
    assert source == {"producerTask": "baseline", "outputArtifactKey": "artifact"}


def test_each_of_several_models_is_an_artifact_of_its_own() -> None:
    models = [
        Importer(source_uri=f"gs://bucket/{name}", artifact_type=Model).with_id(name)
        for name in ("one", "two", "three")
    ]
    one, two, three = (each.outputs["result"] for each in models)
    examples = Importer(source_uri="gs://bucket/examples", artifact_type=Examples).with_id("examples")
    schema = Importer(source_uri="gs://bucket/schema", artifact_type=Schema).with_id("schema")
    distiller = Distiller(
        model=one,
        teachers=[two, three],
        examples=examples.outputs["result"],
        schema=schema.outputs["result"],
        config={"student": "width:0.5", "teacher_weights": [1, 2, 3]},
        label_key="label",
    )
    merger = Merger(models=[three, one], config={"function": "average"})
    made = compiled(extra=[*models, examples, schema, distiller, merger])

    def sources(task: str) -> dict[str, str]:
        artifacts = tasks(made)[task]["inputs"]["artifacts"]
        return {key: given["taskOutputArtifact"]["producerTask"] for key, given in artifacts.items()}

    data = {"examples": "examples", "schema": "schema"}
    assert sources("Distiller") == {"model": "one", "teachers": "two", "teachers_2": "three", **data}
    assert sources("Merger") == {"models": "three", "models_2": "one"}


def test_a_parameter_without_a_default_stays_without() -> None:
    made = compiled(gate_config=RuntimeParameter("strict", ptype=str, description="the bounds"))
    parameters = made.spec["root"]["inputDefinitions"]["parameters"]
    assert parameters == {"strict": {"parameterType": "STRING", "description": "the bounds"}}


def test_vertex_gets_a_job_with_its_root_and_resolvers(tmp_path: Path) -> None:
    resolver = _resolver()
    made = compiled({"target": "vertex", "pipeline_root": "gs://other/"}, extra=[resolver])
    made.write(tmp_path / "job.json")
    job = json_format.ParseDict(json.loads((tmp_path / "job.json").read_text()), pipeline_spec_pb2.PipelineJob())
    assert job.runtime_config.gcs_output_directory == "gs://other"
    assert "last-blessed-model-resolver" in tasks(made)
    assert "lifecycle" in container(made, "ImportExampleGen")
    with pytest.raises(ConfigError, match=r"names? a file that ends in \.yaml"):
        compiled().write(tmp_path / "job.json")


def test_vertex_is_told_of_no_volumes(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["kubeflow_pipelines", "--target", "vertex", "--pipeline-root", "gs://b"]
    assert main(["kubeflow", "compile", *arguments, "--volume", "claim:/data"]) == 1
    assert "Vertex AI mounts no volume claims" in capsys.readouterr().err
    for wrong in ("claim", ":/data", "claim:data"):
        assert main(["kubeflow", "compile", *arguments, "--volume", wrong]) == 1
        assert "volume" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"Push to gs://$"):
        compiled({"target": "vertex"}, push_to="/models")


def _resolver() -> Resolver:
    return Resolver(
        strategy_class=LatestBlessedModelStrategy, model=Channel(type=Model), model_blessing=Channel(type=ModelBlessing)
    ).with_id("last-blessed")


class _OwnDriver(base_driver.BaseDriver):
    pass


class _Driven(LiteConverter):
    DRIVER_CLASS = _OwnDriver


class _Nameless(artifact.Artifact):
    TYPE_NAME = "Nameless"


def _converter(kind: type[LiteConverter], node_id: str) -> LiteConverter:
    return kind(model=Channel(type=Model)).with_id(node_id)


def _gate_on(*arguments: str) -> list[Any]:
    model, examples = (
        Importer(source_uri="gs://bucket/x", artifact_type=kind).with_id(f"given-{kind.TYPE_NAME}")
        for kind in (Model, Examples)
    )
    gate = EdgeEvaluator(
        model=model.outputs["result"],
        examples=examples.outputs["result"],
        config={"thresholds": {"size_bytes": {"max": 1}}},
    )
    return [model, examples, gate.with_beam_pipeline_args(list(arguments)).with_id("far")]


def _statistics_on(*arguments: str) -> list[Any]:
    examples = Importer(source_uri="gs://bucket/x", artifact_type=Examples).with_id("given")
    statistics = StatisticsGen(examples=examples.outputs["result"]).with_beam_pipeline_args(list(arguments))
    return [examples, statistics.with_id("statistics")]


def test_workers_on_the_same_machine_compile() -> None:
    made = compiled(extra=_gate_on("--direct_running_mode=multi_processing", "--direct_num_workers=2"))
    assert "--direct_num_workers=2" in container(made, "far")["args"]


def test_on_vertex_a_component_of_tfx_may_have_workers_elsewhere_and_a_gate_not() -> None:
    vertex = {"target": "vertex", "pipeline_root": "gs://bucket/root"}
    made = compiled(vertex, extra=_statistics_on("--runner=DataflowRunner"))
    assert "--runner=DataflowRunner" in container(made, "statistics")["args"]
    with pytest.raises(ConfigError, match=r"far: its Beam workers \(DataflowRunner\) would not see"):
        compiled(vertex, extra=_gate_on("--runner=DataflowRunner"))


IMPOSSIBLE: dict[str, tuple[Callable[[], dict[str, Any]], list[str]]] = {
    "Resolver": (
        lambda: {"extra": [_resolver()]},
        ["last-blessed: Kubeflow Pipelines has no Resolver", "float model of the same run", "Importer(source_uri="],
    ),
    "InfraValidator": (
        lambda: {"extra": [InfraValidator(model=Channel(type=Model), serving_spec=infra_validator_pb2.ServingSpec())]},
        ["InfraValidator: ", "Leave it out and give Pusher EdgeEvaluator's infra_blessing"],
    ),
    "driver": (
        lambda: {"extra": [_converter(_Driven, "driven")]},
        ["driven: its driver _OwnDriver would not run", "into the executor"],
    ),
    "spans": (
        lambda: {"examples_input_config": kubeflow_pipelines.spans()},
        ["ImportExampleGen: spans", "RuntimeParameter", "[[ScheduledTime."],
    ),
    "local root": (lambda: {"root": "/tmp/root"}, ["the pipeline root is '/tmp/root'", "--pipeline-root"]),
    "s3 input": (
        lambda: {"examples_input_base": "s3://bucket/data"},
        ["ImportExampleGen: input_base names s3://bucket/data", "--volume CLAIM:/folder"],
    ),
    "minio push": (
        lambda: {"push_to": "minio://bucket/pushed"},
        ["Pusher: push_destination names minio://bucket/pushed"],
    ),
    "push into the container": (
        lambda: {"push_to": "/models"},
        ["Pusher: it would push to /models, which is lost", "--volume CLAIM:/folder"],
    ),
    "name of the pipeline": (lambda: {"name": "My Pipeline"}, ["named 'My Pipeline'", "lower-case"]),
    "names of tasks": (
        lambda: {"extra": [_converter(LiteConverter, "LiteConverter-float32")]},
        ["LiteConverter-float32 and LiteConverter.float32 would both be the task 'LiteConverter-float32'"],
    ),
    "artifact type": (
        lambda: {"extra": [Importer(source_uri="gs://a", artifact_type=_Nameless).with_id("thing")]},
        ["thing: the artifact type 'Nameless' cannot be found again", "package.Class"],
    ),
    "import from a folder": (
        lambda: {"extra": [Importer(source_uri="/models/1", artifact_type=Model).with_id("base")]},
        ["base: it would import '/models/1', which is not in an object store", "gs://"],
    ),
    "workers elsewhere": (
        lambda: {"extra": _gate_on("--runner=FlinkRunner", "--flink_master=flink:8081")},
        ["far: its Beam workers (FlinkRunner) would not see the folders", "--runner=DirectRunner"],
    ),
    "a cluster of Dask's": (
        lambda: {"extra": _gate_on("--runner=DaskRunner", "--dask_client_address=tcp://dask:8786")},
        ["far: its Beam workers (DaskRunner) would not see the folders"],
    ),
    "workers elsewhere of a component of TFX's": (
        lambda: {"extra": _statistics_on("--runner=DataflowRunner")},
        ["statistics: its Beam workers (DataflowRunner) would not see the folders"],
    ),
    "missing module": (
        lambda: {"trainer_module_file": "/none.py", "trainer_run_fn": None},
        ["Trainer: there is no module file '/none.py'", "module_path"],
    ),
    "default of a configuration": (
        lambda: {"gate_config": RuntimeParameter("bounds", ptype=str, default='{"threshold": {}}')},
        [
            "EdgeEvaluator.candidate: the default of the RuntimeParameter 'bounds' of config: ",
            "unknown key 'threshold'",
        ],
    ),
    "parameter without a type": (
        lambda: {"extra": [Importer(source_uri=RuntimeParameter("uri"), artifact_type=Model).with_id("base")]},
        ["base: the RuntimeParameter 'uri' of artifact_uri has no ptype"],
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_kubeflow_cannot_run_fails_with_the_way_around(name: str) -> None:
    change, words = IMPOSSIBLE[name]
    with pytest.raises(ConfigError) as caught:
        compiled(**change())
    assert [word for word in words if word not in str(caught.value)] == []
    assert len(str(caught.value).splitlines()) == 2, "and nothing else is wrong"


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        compiled(root="s4://x", push_to="/models", examples_input_base="s3://bucket/data", extra=[_resolver()])
    heads = [line.split(":")[0].strip(" -") for line in str(caught.value).splitlines()]
    assert heads[1][:20] == "the pipeline root is"
    assert sorted(heads[2:]) == ["ImportExampleGen", "Pusher", "last-blessed"]


def test_two_modules_of_one_name_cannot_be_told_apart_in_an_image(tmp_path: Path) -> None:
    files = [tmp_path / name / "module.py" for name in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text("def preprocessing_fn(inputs): return inputs\ndef run_fn(fn_args): pass\n")
    with pytest.raises(ConfigError, match="are both module 'module' in an image"):
        compiled(
            transform_module_file=str(files[0]), transform_preprocessing_fn=None, trainer_module_file=str(files[1]),
            trainer_run_fn=None,
        )  # fmt: skip


def test_one_parameter_with_two_defaults_is_told() -> None:
    one, other = (RuntimeParameter("data", ptype=str, default=default) for default in ("gs://a", "gs://b"))
    second = ImportExampleGen(input_base=other).with_id("second")
    with pytest.raises(ConfigError, match="'data' is defined twice"):
        compiled(examples_input_base=one, extra=[second])


def test_the_digits_pipeline_compiles_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "digits.yaml"
    status = main(
        [
            "kubeflow", "compile", "tfx_edge.pipelines.digits.pipeline:create", "--arg", "root=/data", "--arg",
            'thresholds={"accuracy": {"min": 0.9}}', "--pipeline-root", "minio://mlpipeline/digits", "--volume",
            "digits:/data", "--image", "registry/digits:1", "-o", str(output),
        ]
    )  # fmt: skip
    out, error = capsys.readouterr()
    assert (status, error) == (0, "")
    assert re.match(rf"wrote {re.escape(str(output))}: \d+ tasks, image registry/digits:1\n", out)
    spec = next(yaml.safe_load_all(output.read_text()))
    assert set(verdicts.gates(spec)) == {f"EdgeEvaluator-{name}" for name in pipeline.VARIANTS}
    assert verdicts.deciding_gates(spec) == ["EdgeEvaluator-candidate"]
    loaded = kfp.components.load_component_from_file(str(output))
    assert loaded.component_spec.name == "digits"


def test_a_pipeline_comes_from_a_file_with_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own_pipeline.py"
    file.write_text(
        "from pathlib import Path\nimport kubeflow_pipelines\n"
        "def create_pipeline(folder: Path, name: str, epochs: int = 1):\n"
        "    assert isinstance(folder, Path) and isinstance(epochs, int)\n"
        "    return kubeflow_pipelines.create_pipeline(name, epochs, 'gs://x' + str(folder))\n"
    )
    output = tmp_path / "own.yaml"
    arguments = ["--arg", "folder=/models", "--arg", "name=12", "--arg", "epochs=4"]
    assert main(["kubeflow", "compile", str(file), *arguments, "-o", str(output)]) == 0
    spec = yaml.safe_load(output.read_text())
    assert spec["pipelineInfo"]["name"] == "12"
    assert json.loads(_constant(spec, "Trainer", "custom_config")) == {"epochs": 4}
    assert json.loads(_constant(spec, "Pusher", "push_destination"))["filesystem"]["base_directory"] == "gs://x/models"


@pytest.mark.parametrize(
    ("number", "text", "parameter", "value"),
    [
        (0, "1.10", "given: str | None", "1.10"),
        (1, "null", "given: str | None", None),
        (2, "3", "given: str | int", 3),
        (3, "x", "given: int | str", "x"),
        (4, '{"a": 1}', "given: str | dict[str, int]", {"a": 1}),
        (5, '["a"]', "given: list[str]", ["a"]),
        (6, "12", "given: Path | None", Path("12")),
        (7, "12", "given", 12),
        (8, "x", "given", "x"),
        (9, "3", "given: str | float", 3),
        (10, "3", "given: str | Any", "3"),
    ],
)
def test_an_argument_becomes_what_its_parameter_takes(
    tmp_path: Path, number: int, text: str, parameter: str, value: Any
) -> None:
    file = tmp_path / f"taking_{number}.py"
    file.write_text(
        "from pathlib import Path, PosixPath\nfrom typing import Any\nimport kubeflow_pipelines\n"
        f"def create_pipeline({parameter}):\n"
        f"    assert (type(given), given) == (type({value!r}), {value!r})\n"
        "    return kubeflow_pipelines.create_pipeline()\n"
    )
    load(str(file), [("given", text)])


def test_annotations_for_type_checkers_alone_are_no_hindrance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "checked_pipeline.py"
    file.write_text(
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nimport kubeflow_pipelines\n"
        "if TYPE_CHECKING:\n    from collections.abc import Mapping\n    from tfx.v1.dsl import Pipeline\n"
        "def create_pipeline(name: str, given: Mapping[str, int]) -> Pipeline:\n"
        "    return kubeflow_pipelines.create_pipeline(name, given['epochs'])\n"
    )
    output = tmp_path / "checked.yaml"
    arguments = ["--arg", "name=12", "--arg", 'given={"epochs": 4}']
    assert main(["kubeflow", "compile", str(file), *arguments, "-o", str(output)]) == 0
    spec = yaml.safe_load(output.read_text())
    assert spec["pipelineInfo"]["name"] == "12"
    assert json.loads(_constant(spec, "Trainer", "custom_config")) == {"epochs": 4}


def _constant(spec: dict[str, Any], task: str, name: str) -> Any:
    return spec["root"]["dag"]["tasks"][task]["inputs"]["parameters"][name]["runtimeValue"]["constant"]


@pytest.mark.parametrize(
    ("reference", "arguments", "words"),
    [
        ("missing.py", [], "there is no file 'missing.py'"),
        ("no_such_package.module:create", [], "there is no module 'no_such_package.module'"),
        ("kubeflow_pipelines:make", [], "has no function 'make'; it has create_pipeline"),
        ("kubeflow_pipelines", ["epoch=1"], "--arg epoch: there is no such parameter; known: name, epochs"),
        ("kubeflow_pipelines", ["epochs=many"], "--arg epochs: 'many' is no JSON"),
        ("kubeflow_pipelines:spans", [], "returned a Input; let it return a tfx Pipeline"),
        ("json:loads", [], "needs s"),
        ("json:loads", ["s={"], "json:loads failed: JSONDecodeError"),
    ],
)
def test_a_pipeline_that_cannot_be_loaded_is_told(
    capsys: pytest.CaptureFixture[str], reference: str, arguments: list[str], words: str
) -> None:
    given = [word for argument in arguments for word in ("--arg", argument)]
    assert main(["kubeflow", "compile", reference, *given]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Distiller", "EdgeEvaluator", "LiteConverter", "Merger", "Pruner", "Quantizer"])
def test_the_configuration_of_every_component_is_found_by_its_executor(name: str) -> None:
    component = getattr(tfx_edge, name)
    executor = component.EXECUTOR_SPEC.executor_class
    arguments = ["--executor_class_path", f"{executor.__module__}.{executor.__name__}"]
    spec = {
        "root": {"dag": {"tasks": {"task": {"componentRef": {"name": "comp-task"}}}}},
        "components": {"comp-task": {"executorLabel": "exec-task"}},
        "deploymentSpec": {"executors": {"exec-task": {"container": {"args": arguments}}}},
    }
    assert Package(Path("pipeline.yaml"), spec)._config_class("task") is component.CONFIG_CLASS
