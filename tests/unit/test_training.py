"""Training: the same every time, stopped early, and going on after its process was killed."""

from __future__ import annotations

import dataclasses
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import training_module
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from killed import Killed, dying_after
from processes import below, command_line, runs, until

from tfx_edge.config import Config
from tfx_edge.errors import ConfigError, DataError, DeviceError, ModelError
from tfx_edge.merger.spec import MergerConfig
from tfx_edge.models import saving
from tfx_edge.pruner.spec import PrunerConfig
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.stages import child, resuming
from tfx_edge.stages.context import StageContext
from tfx_edge.training import training
from tfx_edge.training.checkpoints import Checkpoint, Progressed, State
from tfx_edge.training.data import TrainingData
from tfx_edge.training.lines import Lines, duration
from tfx_edge.training.types import FitConfig

WORKS = {
    "Pruner": ("tfx_edge.pruner.work:prune", {"method": {"final_sparsity": 0.6}}),
    "Quantizer": ("tfx_edge.quantizer.work:quantize", {"recipe": "qat_int8"}),
    "Distiller": ("tfx_edge.distiller.work:distill", {}),
}
EPOCHS = 6


def data(validation: bool = True, seed: int = 0) -> TrainingData:
    def batches(split: str) -> tf.data.Dataset:
        return training_module.input_fn([split], None, 16)

    return TrainingData(batches("train"), batches("eval") if validation else None, 6, 16, seed)


def fresh(seed: int = 0, learning_rate: float = 0.02) -> tf_keras.Model:
    tf_keras.utils.set_random_seed(seed)
    model = training_module.network(16)
    training.compile_for_labels(model, tf.TensorSpec((None,), tf.int64), learning_rate, model)
    return model


def fit(model: tf_keras.Model, config: FitConfig, **options: Any) -> dict[str, float]:
    return training.fit(model, options.pop("data", data()), config, lambda line: None, **options)


def difference(one: tf_keras.Model, other: tf_keras.Model) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


def ending(*ends: tf_keras.layers.Layer) -> tf_keras.Model:
    inputs = tf_keras.Input((training_module.FEATURES,), name="x")
    return tf_keras.Model(inputs, [end(inputs) for end in ends])


def test_one_probability_is_learnt_by_its_own_loss() -> None:
    model = ending(tf_keras.layers.Dense(1, "sigmoid"))
    training.compile_for_labels(model, tf.TensorSpec((None,), tf.int64), 0.1, model)
    features, corners = training_module.numbers("train")
    labels = (corners == 0).astype(np.int64)
    history = model.fit(features, labels, epochs=20, verbose=0).history
    right = float(np.mean((model.predict(features, verbose=0)[:, 0] > 0.5) == labels))
    assert right > 0.8
    assert history["accuracy"][-1] > 0.8


@pytest.mark.parametrize(
    ("ends", "labels"),
    [
        ([tf_keras.layers.Dense(1)], tf.int64),
        ([tf_keras.layers.Dense(3, "sigmoid")], tf.int64),
        ([tf_keras.layers.Dense(3), tf_keras.layers.Dense(3)], tf.int64),
        ([tf_keras.layers.Dense(3)], tf.float32),
    ],
    ids=["one score", "several probabilities", "two outputs", "labels that are no classes"],
)
def test_no_loss_is_guessed(ends: list[tf_keras.layers.Layer], labels: tf.DType) -> None:
    model = ending(*ends)
    with pytest.raises(ConfigError, match=r"no loss can be chosen.*Define compile_fn\(model, fn_args\)"):
        training.compile_for_labels(model, tf.TensorSpec((None,), labels), 0.1, model)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 1000))
def test_an_epoch_holds_every_example_once_in_an_order_of_its_own(seed: int, number: int) -> None:
    def order(epoch: int) -> list[float]:
        return [float(x) for features, _ in data(seed=seed).epoch(epoch) for x in features["x"][:, 0]]

    assert order(number) == order(number)
    assert order(number) != order(number + 1)
    assert sorted(order(number)) == sorted(map(float, training_module.numbers("train")[0][:, 0]))


@pytest.mark.parametrize(
    ("config", "values", "key"),
    [
        (FitConfig, {}, "seed"),
        (MergerConfig, {}, "seed"),
        (Recipe, {"preset": "int8"}, "calibration.seed"),
    ],
)
def test_a_seed_that_no_generator_takes_is_refused(config: type[Config], values: dict[str, Any], key: str) -> None:
    def parsed(seed: int) -> Config:
        return config.parse({**values, **({"calibration": {"seed": seed}} if "." in key else {"seed": seed})})

    parsed(2**32 - 1)
    with pytest.raises(ConfigError, match=rf"{key}: .*greater than or equal to 0 \(value -1\)"):
        parsed(-1)
    with pytest.raises(ConfigError, match=rf"{key}: .*less than 4294967296 \(value 4294967296\)"):
        parsed(2**32)


def test_the_best_epoch_is_kept() -> None:
    """Every epoch is the same whatever comes after it, so its weights can be had by training up to it."""
    config = FitConfig(epochs=60, patience=2, learning_rate=0.05)
    stopped, lines = fresh(learning_rate=0.05), []
    figures = training.fit(stopped, data(), config, lines.append)
    best = int(figures["best_epoch"])
    up_to_best = fresh(learning_rate=0.05)
    expected = fit(up_to_best, FitConfig(epochs=best))
    assert difference(stopped, up_to_best) == 0
    assert figures == {**expected, "best_epoch": best}
    assert any(f"stopped after epoch {best + 2}/60; the weights of epoch {best} are kept" in line for line in lines)
    later = fit(fresh(learning_rate=0.05), FitConfig(epochs=best + 2))
    assert later["val_loss"] >= figures["val_loss"]


def test_the_highest_accuracy_can_be_what_counts() -> None:
    figures = fit(fresh(), FitConfig(epochs=8, patience=8, monitor="val_accuracy"))
    several = [fit(fresh(), FitConfig(epochs=epochs))["val_accuracy"] for epochs in (1, 4, 8)]
    assert figures["val_accuracy"] >= max(several)


def test_no_epoch_before_the_pruning_is_done_can_be_the_best() -> None:
    figures = fit(fresh(), FitConfig(epochs=6, patience=1), ripe_after=4)
    assert figures["best_epoch"] >= 5


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"patience": 0}, "greater than or equal to 1"),
        ({"monitor": "val_accuracy"}, "belong to patience"),
        ({"patience": 2, "monitor": "loss"}, "pattern"),
        ({"patience": 2, "monitor": "val_distance"}, "goal 'min' or 'max'"),
    ],
)
def test_early_stopping_that_cannot_work_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FitConfig.parse(config)


@pytest.mark.parametrize(
    ("name", "lower"), [("val_loss", True), ("val_scores_loss", True), ("val_mae", True), ("val_top_accuracy", False)]
)
def test_the_name_tells_which_value_is_better(name: str, lower: bool) -> None:
    assert FitConfig(patience=1, monitor=name).lower_is_better is lower
    assert FitConfig(patience=1, monitor=name, goal="max").lower_is_better is False


def test_patience_needs_a_figure_to_watch() -> None:
    with pytest.raises(DataError, match="eval split, which has no examples"):
        fit(fresh(), FitConfig(patience=1), data=data(validation=False))
    with pytest.raises(ConfigError, match=r"'val_auc' is none of .*accuracy, loss, val_accuracy, val_loss"):
        fit(fresh(), FitConfig(patience=1, monitor="val_auc"))


def test_a_training_that_diverges_is_told_at_once(tmp_path: Path) -> None:
    model, checkpoint = fresh(learning_rate=1e30), Checkpoint(tmp_path, "work")
    with pytest.raises(ModelError, match="lower learning_rate"):
        fit(model, FitConfig(epochs=500), checkpoint=checkpoint)
    assert checkpoint.load() is None or checkpoint.load().progressed.epochs < 10


FLOATS = arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, max_dims=3, max_side=4))


@settings(max_examples=30, deadline=None)
@given(st.lists(FLOATS, max_size=12), st.lists(FLOATS, max_size=3), st.integers(0, 9), st.none() | st.integers(0, 9))
def test_a_checkpoint_gives_back_what_it_took(
    tmp_path_factory: pytest.TempPathFactory, weights: list[Any], optimizer: list[Any], epochs: int, best: int | None
) -> None:
    checkpoint = Checkpoint(tmp_path_factory.getbasetemp() / "checkpoints", "work")
    checkpoint.save(State(Progressed(epochs, ({"loss": 0.5},) * epochs, best), weights, optimizer, weights[:1]))
    found = checkpoint.load()
    assert found is not None
    assert found.progressed == Progressed(epochs, ({"loss": 0.5},) * epochs, best)
    for ours, theirs in ((weights, found.weights), (optimizer, found.optimizer), (weights[:1], found.best_weights)):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
    checkpoint.remove()
    assert checkpoint.load() is None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_damaged_checkpoint_is_none(tmp_path: Path, share: float) -> None:
    checkpoint = Checkpoint(tmp_path, "work")
    checkpoint.save(State(Progressed(1, ({"loss": 0.1},)), [np.ones((50, 50))], []))
    content = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(content[: int(share * len(content))])
    assert checkpoint.load() is None


def test_a_full_disk_keeps_the_checkpoint_before_and_no_part(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, "work")
    checkpoint.save(State(Progressed(1, ({"loss": 0.1},)), [np.ones(3)], []))
    checkpoint.path.with_suffix(f".{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(State(Progressed(2, ({"loss": 0.1},) * 2), [np.ones(1_000_000)], []))
    assert [path.name for path in tmp_path.iterdir()] == ["work.npz"]
    found = checkpoint.load()
    assert found
    assert found.progressed.epochs == 1


def test_what_nobody_came_back_for_is_forgotten(tmp_path: Path) -> None:
    old, young, mine = (Checkpoint(tmp_path, key) for key in ("old", "young", "mine"))
    for checkpoint in (old, young, mine):
        checkpoint.save(State(Progressed(), [], []))
    os.utime(old.path, (0, time.time() - 8 * 24 * 3600))
    mine.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["young.npz"]


def test_a_file_that_another_training_takes_away_is_no_matter(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, "work")
    checkpoint.save(State(Progressed(), [], []))
    (tmp_path / "other.1.part").symlink_to("gone")  # is listed, and not there when it is looked at
    checkpoint.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["other.1.part"]


def test_the_checkpoint_of_another_model_is_not_taken(tmp_path: Path) -> None:
    checkpoint, lines = Checkpoint(tmp_path, "work"), []
    checkpoint.save(State(Progressed(2, ({"loss": 0.1},) * 2), [np.zeros(3)], []))
    model, expected = fresh(), fresh()
    training.fit(model, data(), FitConfig(epochs=2), lines.append, checkpoint=checkpoint)
    fit(expected, FitConfig(epochs=2))
    assert difference(model, expected) == 0
    assert not any("goes on" in line for line in lines)


@pytest.mark.parametrize("optimizer", ["adam", "sgd with momentum", "legacy"])
def test_early_stopping_goes_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str) -> None:
    def compiled() -> tf_keras.Model:
        model = fresh()
        chosen = {
            "adam": tf_keras.optimizers.Adam(0.03),
            "sgd with momentum": tf_keras.optimizers.SGD(0.01, momentum=0.9),
            "legacy": tf_keras.optimizers.legacy.Adam(0.03),
        }[optimizer]
        model.compile(chosen, model.loss, metrics=["accuracy"])
        return model

    config, checkpoint = FitConfig(epochs=30, patience=2), Checkpoint(tmp_path, "work")
    whole = compiled()
    expected = fit(whole, config)
    died = int(expected["best_epoch"]) - 2
    assert died > 0
    with dying_after(monkeypatch, died), pytest.raises(Killed):
        fit(compiled(), config, checkpoint=checkpoint)
    resumed, lines = compiled(), []
    figures = training.fit(resumed, data(), config, lines.append, checkpoint=checkpoint)
    assert figures == expected
    assert difference(resumed, whole) == 0
    assert f"goes on after epoch {died}/30" in lines[0]


def work(component: str, folder: Path, output: str, lines: list[str] | None = None, **changes: Any) -> dict[str, Any]:
    """Does a component's work in this process."""
    name, config = WORKS[component]
    module, function = name.split(":")
    request = training_module.request(component, folder, output, {**config, "epochs": EPOCHS, **changes})
    return getattr(importlib.import_module(module), function)(request, (lines if lines is not None else []).append)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("training")
    saving.save_stage(fresh(), path / "trainer", [])
    return path


@pytest.fixture(scope="module")
def whole(folder: Path) -> dict[str, dict[str, Any]]:
    """What each component makes when nothing interrupts it."""
    return {component: work(component, folder, f"{component}-whole") for component in WORKS}


def steps_of(uri: Path) -> str:
    return (uri / "Format-Keras" / "steps.json").read_text()


def same_model(component: str, folder: Path, output: str) -> bool:
    def outputs(name: str) -> Any:
        loaded = tf.saved_model.load(str(folder / name / "Format-Serving"))
        x = tf.constant(training_module.numbers("eval")[0])
        return loaded.signatures["serving_default"](x=x)["scores"].numpy()

    return bool(np.array_equal(outputs(output), outputs(f"{component}-whole")))


@pytest.mark.parametrize("component", WORKS)
def test_a_component_goes_on_where_it_was(
    folder: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch, component: str
) -> None:
    with dying_after(monkeypatch, 4), pytest.raises(Killed):
        work(component, folder, f"{component}-killed")
    lines: list[str] = []
    properties = work(component, folder, f"{component}-resumed", lines)
    assert any(f"goes on after epoch 4/{EPOCHS}" in line for line in lines)
    assert same_model(component, folder, f"{component}-resumed")
    assert steps_of(folder / f"{component}-resumed") == steps_of(folder / f"{component}-whole")
    assert properties["recipe"] == whole[component]["recipe"]
    assert not list((folder / "state").iterdir())


def test_data_that_is_fetched_anew_is_the_same_work_and_other_data_is_not(folder: Path, tmp_path: Path) -> None:
    asked = training_module.request("Pruner", folder, "out", {})

    def digest(place: str, examples: bytes = b"examples", schema: str = "schema", graph: str = "graph") -> str:
        transform = tmp_path / place / "transform_graph"
        (transform / "metadata").mkdir(parents=True, exist_ok=True)
        (transform / "metadata" / "schema.pbtxt").write_text(graph)
        (tmp_path / place / "data-00000").write_bytes(examples)
        (tmp_path / place / "schema.pbtxt").write_text(schema)
        paths = {"schema_path": str(tmp_path / place / "schema.pbtxt"), "transform_graph_path": str(transform)}
        given = {**asked.fn_args, **paths, "train_files": [str(tmp_path / place / "*0")]}
        made = dataclasses.replace(asked, fn_args=given)
        return resuming.work_digest(StageContext(made), PrunerConfig())

    others: list[dict[str, Any]] = [{"examples": b"other"}, {"schema": "other"}, {"graph": "other"}]
    first = digest("first")
    assert digest("second") == first
    assert len({first, *(digest("third", **other) for other in others)}) == 4


def test_a_killed_process_goes_on_where_it_was(folder: Path, whole: dict[str, Any]) -> None:
    """The child dies by SIGKILL as soon as it has done three epochs; this process does the rest."""
    name, config = WORKS["Pruner"]
    request = training_module.request("Pruner", folder, "Pruner-sigkill", {**config, "epochs": EPOCHS})
    checkpoint = Checkpoint(request.state_dir, resuming.work_digest(StageContext(request), _parsed(request)))

    def kill() -> None:
        while (state := checkpoint.load()) is None or state.progressed.epochs < 3:
            time.sleep(0.005)
        for pid in below(os.getpid()):
            if "tfx_edge.stages.child" in command_line(pid):
                os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ModelError, match="was killed by SIGKILL"):
        child.run(name, request)
    killer.join()
    assert not (folder / "Pruner-sigkill" / "Format-Serving").exists()
    lines: list[str] = []
    work("Pruner", folder, "Pruner-after-sigkill", lines)
    assert any("goes on after epoch" in line for line in lines)
    assert same_model("Pruner", folder, "Pruner-after-sigkill")


def test_epochs_have_the_batches_that_were_asked_for(folder: Path) -> None:
    """Whatever the batches are that an ``input_fn`` gives: schedules count steps."""
    stage = StageContext(training_module.request("Pruner", folder, "out", {}))
    stage.user_code.get = lambda name: training_module.input_fn_of_odd_batches if name == "input_fn" else None
    found = stage.training_data(["x"], 32, 0)
    assert found.steps == 3
    assert sum(1 for _ in found.epoch(0)) == 3


def _parsed(request: child.Request) -> Config:
    from tfx_edge.pruner.spec import PrunerConfig

    return PrunerConfig.parse(request.properties["config"])


@pytest.mark.parametrize(
    ("failure", "left"),
    [(ModelError("wrong"), False), (DeviceError("hung"), True), (Killed(), True), (OSError(), True)],
)
def test_a_failure_that_would_come_again_leaves_no_checkpoint(folder: Path, failure: BaseException, left: bool) -> None:
    request = training_module.request("Pruner", folder, "out", {})
    place = Checkpoint(request.state_dir, resuming.work_digest(StageContext(request), _parsed(request)))

    def train() -> None:
        with resuming.resumable(StageContext(request), _parsed(request)) as checkpoint:
            checkpoint.save(State(Progressed(1, ({"loss": 0.5},)), [], []))
            raise failure

    with pytest.raises(type(failure)):
        train()
    assert (place.load() is not None) is left
    place.remove()


@pytest.mark.parametrize("change", ["config", "model", "code", "custom_config", "version", "files"])
def test_only_the_same_work_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    def digest(request: child.Request) -> str:
        return resuming.work_digest(StageContext(request), _parsed(request))

    request = training_module.request("Pruner", folder, "out", {"epochs": 3})
    before = digest(request)
    assert digest(dataclasses.replace(request, outputs={"edge_model": ["another run"]})) == before
    if change == "config":
        request.properties["config"] = '{"epochs": 4}'
    elif change == "model":
        saving.save_stage(fresh(1), tmp_path / "trainer", [])
        request.inputs["model"] = [str(tmp_path / "trainer")]
    elif change == "code":
        other = tmp_path / "module.py"
        other.write_text(Path(training_module.__file__).read_text() + "\n# changed\n")
        request.properties["module_file"] = str(other)
    elif change == "custom_config":
        request.fn_args["custom_config"] = {"rate": 2}
    elif change == "version":
        monkeypatch.setattr(resuming, "versions", lambda: {"tfx-edge": "0"})
    else:
        (tmp_path / "examples-00000-of-00001").write_bytes(b"")
        request.fn_args["train_files"] = [str(tmp_path / "*")]
    assert digest(request) != before


PARTIAL = "import functools\nfrom wrapped_code import run\ncompile_fn = functools.partial(run, rate={})\n"
DECORATED = "import contextlib\nfrom wrapped_code import run\ncompile_fn = contextlib.contextmanager(run)\nRATE = {}\n"
OTHER = "def run(model, fn_args, rate=0): ...\n"


@pytest.mark.parametrize("module", [PARTIAL, DECORATED])
def test_code_counts_that_a_partial_or_a_decorator_hides(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wrapped_code", raising=False)
    path, other = tmp_path / "module.py", tmp_path / "wrapped_code.py"
    request = training_module.request("Pruner", folder, "out", {})
    request.properties["module_file"] = str(path)
    digests = []
    for text, imported in ((module.format(1), OTHER), (module.format(2), OTHER), (module.format(2), OTHER + "# new\n")):
        path.write_text(text)
        other.write_text(imported)
        digests.append(resuming.work_digest(StageContext(request), PrunerConfig()))
    assert len({*digests}) == 3


def test_code_in_a_wheel_counts(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "code.whl"
    request = training_module.request("Pruner", folder, "out", {})
    del request.properties["module_file"]
    request.properties["module_path"] = f"code_of_a_wheel@{wheel}"
    digests = []
    for number in (1, 2):
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("code_of_a_wheel.py", f"def compile_fn(model, fn_args): return {number}\n")
        importlib.invalidate_caches()
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.delitem(sys.modules, "code_of_a_wheel", raising=False)
        digests.append(resuming.work_digest(StageContext(request), PrunerConfig()))
    assert digests[0] != digests[1]


def test_the_child_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]; from tfx_edge.stages import child; "
        "child.run('training_module:wait_for_a_file', "
        "child.Request('Waiter', {}, {}, {'pid_file': sys.argv[2]}))"
    )
    pid_file = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent), str(pid_file)])
    try:
        until(lambda: pid_file.is_file() and bool(pid_file.read_text()))
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not runs(int(pid_file.read_text())))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("tfx_edge.training.lines.time.monotonic", lambda: now[0])
    return now


def test_lines_come_when_there_is_something_to_wait_for(clock: list[float]) -> None:
    spoken: list[str] = []
    lines = Lines(epochs=4, steps=10, progress=spoken.append)
    for epoch, seconds in enumerate((6.0, 5.0, 0.2, 5.0)):
        lines.on_epoch_begin(epoch)
        clock[0] += seconds
        lines.on_epoch_end(epoch, {"loss": 0.25})
    assert spoken == [
        "epoch 1/4: loss 0.2500; about 18 s left",
        "epoch 2/4: loss 0.2500; about 10 s left",
        "epoch 4/4: loss 0.2500",
    ]


def test_a_long_epoch_speaks_up_in_between(clock: list[float]) -> None:
    spoken: list[str] = []
    lines = Lines(epochs=2, steps=100, progress=spoken.append)
    lines.on_epoch_begin(0)
    for batch in range(50):
        clock[0] += 1.0
        lines.on_train_batch_end(batch, {"loss": 1.0})
    assert spoken == [
        "epoch 1/2, step 20/100: loss 1.0000; about 3 min left",
        "epoch 1/2, step 40/100: loss 1.0000; about 3 min left",
    ]


@given(st.floats(0.01, 1e6))
def test_a_time_is_short_and_near(seconds: float) -> None:
    value, unit = duration(seconds).removeprefix("about ").split()
    assert abs(float(value) * {"s": 1, "min": 60, "h": 3600}[unit] - seconds) <= max(1.0, 0.3 * seconds)
