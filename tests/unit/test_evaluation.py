"""The gate from files and examples to a report: whatever goes wrong withholds the blessing, with the reason."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lite_models
import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_edge.devices.local import Local, infer
from tfx_edge.devices.mcu import Mcu
from tfx_edge.devices.target import Target
from tfx_edge.errors import ConfigError, DataError, DeviceError, ModelError
from tfx_edge.gate.evaluation import OnBeam, evaluate
from tfx_edge.gate.example_files import ExampleFiles
from tfx_edge.gate.parity import output_difference
from tfx_edge.gate.settings import GateSettings

Batch = tuple[dict[str, np.ndarray], np.ndarray]
SOON = {"kind": "local", "runs": 20, "warmup": 2}
MODELS = {"int8": lite_models.int8, "float": lite_models.float32}
SCHEMA = """
feature {
  name: "image" type: FLOAT presence { min_fraction: 1 } shape { dim { size: 8 } dim { size: 8 } dim { size: 1 } }
}
feature { name: "label" type: INT presence { min_fraction: 1 } shape { } }
feature { name: "site" type: BYTES }
"""


def settings(**given: Any) -> GateSettings:
    return GateSettings.parse(
        {"thresholds": {"size_bytes": {"max": 10_000_000}}, "targets": {"local": SOON}, "time_budget_s": 0.1} | given
    )


def artifact(folder: Path, content: bytes, **described: Any) -> Path:
    """A lite stage with that file."""
    path = folder / "Format-Serving" / "tflite"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    document = {"sha256": hashlib.sha256(content).hexdigest(), "steps": []} | described
    path.with_name("edge.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> list[Batch]:
    """Noise, labelled with what the float model says of it: it is always right."""
    path = lite_models.write(tmp_path_factory.mktemp("float"), lite_models.float32())
    images = [{"image": np.concatenate([each["image"] for each in lite_models.images(200)])}]
    return [
        (image, np.argmax(next(iter(scores.values())), axis=1))
        for image, scores in zip(images, infer(path, images), strict=True)
    ]


def judged(uri: Path, baseline: Path | None, source: Any, given: GateSettings) -> dict[str, Any]:
    report = evaluate(uri, baseline, source, given, lambda line: None)
    json.dumps(report, allow_nan=False)
    assert report["verdict"]["reason"]
    return report


def test_a_good_model_is_blessed_with_figures_and_their_bounds(tmp_path: Path, batches: list[Batch]) -> None:
    candidate = artifact(tmp_path / "int8", lite_models.int8())
    baseline = artifact(tmp_path / "float", lite_models.float32())
    bounds = {"accuracy": {"min": 0.5, "max_drop": 0.4}, "size_bytes": {"max_ratio": 0.9}}
    report = judged(candidate, baseline, lambda: iter(batches), settings(thresholds=bounds))
    assert report["verdict"]["blessed"], report["verdict"]["reason"]
    figures = report["targets"]["local"]["candidate"]
    assert figures["size_bytes"]["value"] == len(lite_models.int8())
    assert 0 < figures["latency_p50_ms"]["low"] <= figures["latency_p50_ms"]["high"]
    accuracy = report["quality"]["metrics"]["accuracy"]
    assert accuracy["baseline"]["value"] == 1
    assert accuracy["drop"]["low"] < accuracy["drop"]["value"] < accuracy["drop"]["high"] <= 0.4
    assert report["sha256"] == hashlib.sha256(lite_models.int8()).hexdigest()


def wrong_shape(batches: list[Batch]) -> Iterator[Batch]:
    return ((features, labels[:, None, None]) for features, labels in batches)


def not_numbers(batches: list[Batch]) -> Iterator[Batch]:
    return (({name: np.full_like(array, np.nan) for name, array in each.items()}, labels) for each, labels in batches)


def one_class(batches: list[Batch]) -> Iterator[Batch]:
    return ((features, np.zeros_like(labels)) for features, labels in batches)


@pytest.mark.parametrize(
    ("source", "bounds", "told"),
    [
        (lambda _: iter(()), {"accuracy": {"min": 0.1}}, "no figure for accuracy"),
        (not_numbers, {"accuracy": {"min": 0.1}}, "NaN"),
        (wrong_shape, {"accuracy": {"min": 0.1}}, "labels"),
        (one_class, {"auc": {"min": 0.1}}, "auc"),
        (lambda each: iter(each), {"accuracy": {"min": 0.1, "max_drop": 0.5}}, "there is no baseline model"),
        (lambda each: iter(each), {"latency_p50_ms": {"max_ratio": 2}}, "there is no baseline model"),
        (lambda each: iter(each), {"accuracy": {"min": 0.999}}, "cannot be told from the minimum 0.999"),
    ],
    ids=[
        "empty split",
        "NaN",
        "wrong shape",
        "one class",
        "no baseline",
        "no baseline for a ratio",
        "too few examples",
    ],
)
def test_what_is_not_known_is_not_blessed(
    tmp_path: Path,
    batches: list[Batch],
    source: Callable[[list[Batch]], Iterator[Batch]],
    bounds: dict[str, Any],
    told: str,
) -> None:
    candidate = artifact(tmp_path, lite_models.float32())
    report = judged(candidate, None, lambda: source(batches), settings(thresholds=bounds))
    assert not report["verdict"]["blessed"]
    assert told in report["verdict"]["reason"]


@pytest.mark.parametrize("content", [lambda: lite_models.float32()[:-2000], bytes], ids=["truncated", "empty file"])
def test_a_broken_file_is_not_blessed(tmp_path: Path, content: Callable[[], bytes]) -> None:
    report = judged(artifact(tmp_path, content()), None, None, settings())
    assert "the candidate could not be evaluated" in report["verdict"]["reason"]
    assert not report["verdict"]["interrupted"]


@pytest.mark.parametrize(
    ("content", "told"),
    [(lite_models.crashing, "the interpreter crashed"), (lite_models.endless, "within 4 s")],
    ids=["crash", "hang"],
)
def test_a_model_that_takes_its_process_down_is_not_blessed(
    tmp_path: Path, content: Callable[[], bytes], told: str
) -> None:
    four = np.zeros((8, 4), np.float32)
    given = settings(thresholds={"accuracy": {"min": 0.1}}, targets={"local": SOON | {"timeout_s": 4}})
    report = judged(artifact(tmp_path, content()), None, lambda: iter([({"x": four}, np.zeros(8, np.int64))]), given)
    assert told in report["verdict"]["reason"]
    assert "no figure for accuracy" in report["verdict"]["reason"]


def test_a_trainable_stage_is_not_blessed(tmp_path: Path) -> None:
    assert "Put a LiteConverter before this component" in judged(tmp_path, None, None, settings())["verdict"]["reason"]


def test_a_target_that_is_absent_is_not_blessed_and_blesses_no_other(tmp_path: Path) -> None:
    board = {"kind": "ssh", "host": "nobody@127.0.0.1", "port": 9, "connect_timeout_s": 5}
    given = settings(targets={"here": SOON, "board": board})
    report = judged(artifact(tmp_path, lite_models.int8()), None, None, given)
    assert not report["verdict"]["blessed"]
    assert "on board: target 'board'" in report["verdict"]["reason"]
    assert [part["verdict"]["blessed"] for part in report["targets"].values()] == [True, False]
    assert "latency_p50_ms" not in report["targets"]["board"]["candidate"]


@pytest.mark.parametrize(
    ("policy", "blessed"), [("all", False), ("any", True), (["loose"], True), (["tight"], False)], ids=str
)
def test_the_policy_says_which_targets_must_pass(tmp_path: Path, policy: Any, blessed: bool) -> None:
    targets = {"loose": SOON, "tight": SOON | {"thresholds": {"size_bytes": {"max": 100}}}}
    report = judged(artifact(tmp_path, lite_models.int8()), None, None, settings(targets=targets, policy=policy))
    assert report["verdict"]["blessed"] is blessed
    if not blessed:
        assert report["verdict"]["binding"]["target"] == "tight"
        assert report["verdict"]["remedy"]


def test_each_target_of_policy_any_is_held_to_its_share_of_the_error(tmp_path: Path, batches: list[Batch]) -> None:
    targets = {"one": SOON, "two": SOON}
    accuracies = [
        judged(
            artifact(tmp_path / policy, lite_models.int8()),
            None,
            lambda: iter(batches),
            settings(targets=targets, policy=policy, metrics=["accuracy"]),
        )["quality"]["metrics"]["accuracy"]["candidate"]
        for policy in ("all", "any")
    ]
    assert accuracies[0]["value"] == accuracies[1]["value"]
    assert accuracies[1]["low"] < accuracies[0]["low"]
    assert accuracies[1]["high"] > accuracies[0]["high"]


def test_a_microcontroller_target_bounds_the_arena(tmp_path: Path) -> None:
    mcu = {"kind": "mcu", "thresholds": {"arena_bytes": {"max": 100_000}}}
    tight = mcu | {"thresholds": {"arena_bytes": {"max": 16}}}
    candidate = artifact(tmp_path, lite_models.int8())
    report = judged(candidate, None, None, settings(targets={"mcu": mcu, "tiny": tight}))
    assert [part["verdict"]["blessed"] for part in report["targets"].values()] == [True, False]
    assert "arena_bytes" in report["verdict"]["reason"]
    assert "latency_p50_ms" not in report["targets"]["mcu"]["candidate"]


@pytest.mark.parametrize(
    ("error", "interrupted", "blessed"),
    [(DeviceError("died"), True, False), (RuntimeError("odd"), True, False), (ModelError("no kernel"), False, True)],
    ids=repr,
)
def test_a_baseline_that_a_microcontroller_cannot_run_is_no_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, interrupted: bool, blessed: bool
) -> None:
    def arena_bytes(self: Mcu, model: Path, timeout_s: float) -> tuple[int, dict[str, Any]]:
        if "float" in str(model):
            raise error
        return 1000, {"board": "none"}

    monkeypatch.setattr(Mcu, "arena_bytes", arena_bytes)
    models = [artifact(tmp_path / name, content()) for name, content in MODELS.items()]
    mcu = {"kind": "mcu", "thresholds": {"arena_bytes": {"max": 100_000}}}
    verdict = judged(*models, None, settings(targets={"mcu": mcu}))["verdict"]
    assert (verdict["interrupted"], verdict["blessed"]) == (interrupted, blessed), verdict["reason"]


@pytest.mark.parametrize(("error", "interrupted"), [(ModelError("no kernel"), False), (DeviceError("died"), True)])
def test_what_a_target_says_of_the_model_is_no_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, interrupted: bool
) -> None:
    def latency(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(Local, "latency", latency)
    verdict = judged(artifact(tmp_path, lite_models.int8()), None, None, settings())["verdict"]
    assert (verdict["interrupted"], verdict["blessed"]) == (interrupted, False)
    assert str(error) in verdict["reason"]


@pytest.mark.parametrize(
    ("given", "interrupted"), [({"output": "none"}, False), ({"slices": ["none"]}, True)], ids=["setting", "data"]
)
def test_a_setting_that_does_not_suit_the_model_is_no_interruption(
    tmp_path: Path, batches: list[Batch], given: dict[str, Any], interrupted: bool
) -> None:
    asked = settings(thresholds={"accuracy": {"min": 0.1}}, **given)
    report = judged(artifact(tmp_path, lite_models.float32()), None, lambda: iter(batches), asked)
    assert report["quality"]["problem"]
    assert report["verdict"]["interrupted"] is interrupted


def on_beam(folder: Path, batches: list[Batch], *arguments: str) -> OnBeam:
    """The examples in a file; every third has no site."""
    import tensorflow as tf

    schema = text_format.Parse(SCHEMA, schema_pb2.Schema()).SerializeToString()
    with tf.io.TFRecordWriter(str(folder / "part")) as writer:
        for number, (image, label) in enumerate(zip(batches[0][0]["image"], batches[0][1], strict=True)):
            features = {
                "image": tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel())),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            if number % 3:
                features["site"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"north"]))
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return OnBeam(ExampleFiles((str(folder / "part"),), schema, "label"), arguments, str(folder))


def unread() -> Iterator[Batch]:
    raise AssertionError("the examples were read in another way than on Beam")


def test_examples_for_beam_are_tried_out_as_beam_reads_them(tmp_path: Path, batches: list[Batch]) -> None:
    asked = settings(thresholds={"accuracy": {"min": 0.1}}, slices=["site"], min_slice_size=10)
    candidate, road = artifact(tmp_path, lite_models.float32()), on_beam(tmp_path, batches)
    report = evaluate(candidate, None, unread, asked, lambda line: None, on_beam=road)
    assert report["verdict"]["blessed"], report["verdict"]["reason"]
    assert {None, "north"} == {part["slice"]["site"] for part in report["quality"]["slices"]}


def test_what_is_wrong_with_beams_arguments_may_be_mended(tmp_path: Path, batches: list[Batch]) -> None:
    """They are no execution property, so TFX's cache would give the refusal again."""
    asked = settings(thresholds={"accuracy": {"min": 0.1}})
    candidate, road = artifact(tmp_path, lite_models.float32()), on_beam(tmp_path, batches, "--runner=DataflowRunner")
    report = evaluate(candidate, None, unread, asked, lambda line: None, on_beam=road)
    assert "Dataflow's workers cannot reach the examples" in report["quality"]["problem"]
    assert report["verdict"]["interrupted"]


def test_outputs_of_a_target_are_held_against_this_machines(tmp_path: Path, batches: list[Batch]) -> None:
    mcu = {"kind": "mcu", "thresholds": {"output_difference": {"max": 0.5}}}
    candidate = artifact(tmp_path, lite_models.int8())
    report = judged(candidate, None, lambda: iter(batches), settings(targets={"mcu": mcu}))
    assert report["verdict"]["blessed"], report["verdict"]["reason"]
    report = judged(candidate, None, lambda: iter(()), settings(targets={"mcu": mcu}))
    assert "no examples to compare the outputs on" in report["verdict"]["reason"]


def test_a_file_that_does_not_keep_to_the_contract_is_not_blessed(tmp_path: Path) -> None:
    given = settings(contract={"precision": "int8"})
    report = judged(artifact(tmp_path, lite_models.float32()), None, None, given)
    assert "not int8" in report["verdict"]["reason"]


def test_a_file_that_was_changed_after_it_was_made_is_not_blessed(tmp_path: Path) -> None:
    report = judged(artifact(tmp_path, lite_models.int8(), sha256="0" * 64), None, None, settings())
    assert "it was changed after it was made" in report["verdict"]["reason"]


def test_a_baseline_that_was_changed_is_no_measure(tmp_path: Path, batches: list[Batch]) -> None:
    candidate = artifact(tmp_path / "int8", lite_models.int8())
    baseline = artifact(tmp_path / "float", lite_models.float32(), sha256="0" * 64)
    given = settings(thresholds={"accuracy": {"min": 0.1, "max_drop": 0.9}})
    verdict = judged(candidate, baseline, lambda: iter(batches), given)["verdict"]
    assert not verdict["blessed"]
    assert "the baseline's edge.json describes a file of sha256 000000000000…" in verdict["reason"]


def test_a_file_that_changes_while_it_is_measured_is_not_blessed(tmp_path: Path, batches: list[Batch]) -> None:
    candidate = artifact(tmp_path, lite_models.float32())

    def swap() -> Iterator[Batch]:
        yield from batches
        (candidate / "Format-Serving" / "tflite").write_bytes(lite_models.int8())

    verdict = judged(candidate, None, swap, settings(thresholds={"accuracy": {"min": 0.1}}))["verdict"]
    assert not verdict["blessed"]
    assert "was changed while it was measured" in verdict["reason"]


def test_time_is_not_known_where_a_length_is_free(tmp_path: Path) -> None:
    """The interpreter would take it for 1."""
    candidate = artifact(tmp_path, lite_models.free_length())
    assert judged(candidate, None, None, settings())["verdict"]["blessed"]
    for metric in ("latency_p50_ms", "peak_memory_bytes"):
        report = judged(candidate, None, None, settings(thresholds={metric: {"max": 1e12}}))
        assert report["targets"]["local"]["latency"] is None
        assert not report["verdict"]["blessed"]
        assert f"no figure for {metric}: the input 'sequence' of the candidate" in report["verdict"]["reason"]
        assert "the shape 1 x ? x 4" in report["verdict"]["reason"]


def test_integers_of_the_examples_are_fed_while_memory_is_measured(tmp_path: Path) -> None:
    """With 0 and 1 alone, most of a table would never come into memory."""
    candidate = artifact(tmp_path, lite_models.embedding())
    ids = np.random.default_rng(0).integers(10_000, size=(16, 256)).astype(np.int32)
    examples = [({"ids": ids}, np.zeros(16, int))]
    asked = settings(thresholds={"model_memory_bytes": {"max": 1e12}})
    report = judged(candidate, None, lambda: iter(examples), asked)
    assert report["targets"]["local"]["candidate"]["model_memory_bytes"]["value"] > 8e6
    for source, told in ((None, "there are no examples"), (unreadable, "no example can be read: damaged")):
        verdict = judged(candidate, None, source, asked)["verdict"]
        assert not verdict["blessed"]
        assert (
            f"the input 'ids' of the candidate takes integers, whose values decide time and memory, and {told}"
            in (verdict["reason"])
        )


def unreadable() -> Iterator[Batch]:
    raise DataError("damaged")
    yield


def test_a_baseline_of_other_classes_is_no_measure(tmp_path: Path, batches: list[Batch]) -> None:
    few = [({"image": features["image"][labels < 4]}, labels[labels < 4]) for features, labels in batches]
    candidate = artifact(tmp_path / "float", lite_models.float32())
    baseline = artifact(tmp_path / "four", lite_models.four_classes())
    alone = settings(thresholds={"accuracy": {"min": 0.5}})
    assert judged(candidate, baseline, lambda: iter(few), alone)["verdict"]["blessed"]
    given = settings(thresholds={"accuracy": {"max_drop": 0.5}})
    verdict = judged(candidate, baseline, lambda: iter(few), given)["verdict"]
    assert not verdict["blessed"]
    assert "the candidate tells 10 classes apart and the baseline 4" in verdict["reason"]


def test_probabilities_are_not_taken_for_logits(tmp_path: Path, batches: list[Batch]) -> None:
    given = settings(thresholds={"log_loss": {"max": 100.0}}, scores="logits")
    verdict = judged(artifact(tmp_path, lite_models.float32()), None, lambda: iter(batches), given)["verdict"]
    assert not verdict["blessed"]
    assert "the candidate's output 'probability' comes out of a softmax" in verdict["reason"]


def test_each_slice_is_bounded_and_named(tmp_path: Path, batches: list[Batch]) -> None:
    (features, labels) = batches[0]
    parts = (np.arange(len(labels)) % 2).astype(np.int64)
    source = [({**features, "part": parts}, np.where(parts == 1, (labels + 1) % 6, labels))]
    given = settings(slices=["part"], slice_thresholds={"accuracy": {"min": 0.5}}, min_slice_size=50)
    report = judged(artifact(tmp_path / "a", lite_models.float32()), None, lambda: iter(source), given)
    assert "accuracy of part=1" in report["verdict"]["reason"]
    assert "accuracy of part=0" not in report["verdict"]["reason"]
    small = settings(slices=["part"], slice_thresholds={"accuracy": {"min": 0.5}}, min_slice_size=1000)
    shutil.rmtree(tmp_path / "a")
    report = judged(artifact(tmp_path / "a", lite_models.float32()), None, lambda: iter(source), small)
    assert "no slice by part has min_slice_size 1000 examples" in report["verdict"]["reason"]


def test_slices_may_be_made_of_the_labels(tmp_path: Path, batches: list[Batch]) -> None:
    given = settings(slices=["digit"], slice_thresholds={"accuracy": {"min": 0.5}}, min_slice_size=10)
    candidate = artifact(tmp_path, lite_models.float32())
    report = evaluate(candidate, None, lambda: iter(batches), given, lambda line: None, label_key="digit")
    assert report["verdict"]["blessed"], report["verdict"]["reason"]
    assert {"digit": 4} in [part["slice"] for part in report["quality"]["slices"]]


def test_slices_may_be_made_of_words_which_no_model_is_fed(tmp_path: Path, batches: list[Batch]) -> None:
    (features, labels) = batches[0]
    words = np.array([b"odd", b"even"], object)[np.arange(len(labels)) % 2]
    source = [({"pixels": features["image"], "word": words}, labels)]
    given = settings(slices=["word"], slice_thresholds={"accuracy": {"min": 0.5}}, min_slice_size=50)
    report = judged(artifact(tmp_path, lite_models.float32()), None, lambda: iter(source), given)
    assert report["verdict"]["blessed"], report["verdict"]["reason"]
    assert [part["slice"] for part in report["quality"]["slices"]] == [{"word": "even"}, {"word": "odd"}]


@pytest.mark.parametrize("source", [None, lambda: iter(())], ids=["no examples", "empty split"])
def test_bounds_on_slices_hold_when_nothing_is_known_of_them(tmp_path: Path, source: Any) -> None:
    given = settings(slices=["part"], slice_thresholds={"accuracy": {"min": 0.5}})
    report = judged(artifact(tmp_path, lite_models.int8()), None, source, given)
    assert not report["verdict"]["blessed"]
    assert "no slice is known: there are no examples" in report["verdict"]["reason"]
    assert "there are no examples" in report["quality"]["problem"]


def test_every_way_of_slicing_must_give_slices(tmp_path: Path, batches: list[Batch]) -> None:
    (features, labels) = batches[0]
    numbers = np.arange(len(labels))
    source = [({**features, "part": numbers % 2, "user": numbers}, labels)]
    given = settings(slices=["part", "user"], slice_thresholds={"accuracy": {"min": 0.5}}, min_slice_size=50)
    report = judged(artifact(tmp_path, lite_models.float32()), None, lambda: iter(source), given)
    assert "no slice by user has min_slice_size 50" in report["verdict"]["reason"]


class Answering(Target):
    """A simulated target that answers whatever it is told to."""

    OFFERS = frozenset({"infer"})

    def __init__(self, answer: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
        self.answer = answer

    def fingerprint(self) -> str:
        return "simulated"

    def infer(self, model: Path, batches: Any, timeout_s: float) -> Iterator[dict[str, np.ndarray]]:
        return (self.answer(outputs) for outputs in infer(model, batches, timeout_s=timeout_s))


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (lambda scores: scores[:, :1], DeviceError, "outputs of the shapes"),
        (lambda scores: scores[:1], DeviceError, "outputs of the shapes"),
        (lambda scores: scores * np.nan, ModelError, "NaN or infinity on the target"),
    ],
    ids=["fewer scores", "fewer examples", "NaN"],
)
def test_a_simulated_target_that_answers_something_else_has_no_difference(
    tmp_path: Path, batches: list[Batch], answer: Any, error: type[Exception], told: str
) -> None:
    path = lite_models.write(tmp_path, lite_models.float32())
    target = Answering(lambda outputs: {name: answer(scores) for name, scores in outputs.items()})
    with pytest.raises(error, match=told):
        output_difference(target, path, [batches[0][0]], 60)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"thresholds": {}}, "no thresholds are given"),
        (
            {
                "thresholds": {},
                "targets": {"here": SOON, "m": {"kind": "mcu", "thresholds": {"arena_bytes": {"max": 9}}}},
            },
            "no thresholds are given on target 'here'",
        ),
        ({"policy": ["local", "local"]}, "names a target twice"),
        ({"thresholds": {"output_difference": {"max": 1}}}, "compares this machine with itself"),
        ({"own_metrics": ["size_bytes"]}, "'size_bytes' is the name of a metric that is there already"),
        (
            {"targets": {"m": {"kind": "mcu", "thresholds": {"latency_p50_ms": {"max": 1}}}}},
            "cannot measure latency_p50",
        ),
        (
            {"targets": {"m": {"kind": "mcu", "hots": 1}}},
            r"unknown key 'targets\.m\.mcu\.hots' .*known keys there: contract",
        ),
        ({"targets": {"m": {"kind": "esp32"}}}, "targets.m: .*'ssh'"),
        ({"targets": {}}, "targets: .*at least 1"),
        ({"targets": {"arm": {"kind": "qemu", "root": "arm64"}}}, "'arm' of kind 'qemu' gives outputs alone"),
        ({"policy": ["pi"]}, "policy .'pi'. must name targets; there are local"),
        ({"slice_thresholds": {"accuracy": {"min": 0.5}}}, "slices names no feature"),
        ({"slices": ["a"], "slice_thresholds": {"size_bytes": {"max": 5}}}, "only quality metrics"),
        ({"metrics": ["bleu"]}, "'bleu' is no quality metric"),
        ({"confidence": 0.4}, "confidence: .*greater than 0.5"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        settings(**given)
