"""Quality from real files and records: both roads, slices, and what must never pass for a figure."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lite_models
import numpy as np
import pytest

from tfx_edge.devices.loaded_model import LoadedModel
from tfx_edge.errors import ConfigError, DataError, DeviceError, EdgeError, ModelError
from tfx_edge.gate.batched_model import BatchedModel
from tfx_edge.gate.example_files import ExampleFiles
from tfx_edge.gate.intervals import proportion
from tfx_edge.gate.output_kind import choose_output, gives_probabilities
from tfx_edge.gate.own_metrics import own_metrics
from tfx_edge.gate.quality import Quality, QualityOptions, evaluate_quality
from tfx_edge.lite.inspect import inspect
from tfx_edge.models.features import inputs_of

SCHEMA = """
feature {
  name: "image" type: FLOAT presence { min_fraction: 1 } shape { dim { size: 8 } dim { size: 8 } dim { size: 1 } }
}
feature { name: "label" type: INT presence { min_fraction: 1 } shape { } }
feature { name: "site" type: BYTES }
feature { name: "device" type: INT presence { min_fraction: 1 } shape { } }
"""
EXAMPLES = 600
RUNNER = ["--runner=apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"]


def schema() -> bytes:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    return text_format.Parse(SCHEMA, schema_pb2.Schema()).SerializeToString()


def examples() -> dict[str, np.ndarray]:
    """Images, the float model's own answers as labels (some of them wrong), three sites, one of them rare."""
    rng = np.random.default_rng(0)
    images = rng.random((EXAMPLES, 8, 8, 1), dtype=np.float32)
    sites = np.array([b"north", b"south", b"rare"])[np.where(np.arange(EXAMPLES) < 20, 2, np.arange(EXAMPLES) % 2)]
    return {"image": images, "site": sites, "device": np.arange(EXAMPLES) % 3}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    contents = {"float": lite_models.float32(), "int8": lite_models.int8(), "any": lite_models.any_batch()}
    return {name: lite_models.write(folder, content, name) for name, content in contents.items()}


@pytest.fixture(scope="module")
def data(models: dict[str, Path]) -> dict[str, np.ndarray]:
    features = examples()
    answers = LoadedModel(str(models["float"]), 1).run({"image": features["image"]})
    labels = next(iter(answers.values())).argmax(axis=1)
    wrong = np.random.default_rng(1).random(EXAMPLES) < 0.2
    return {**features, "label": np.where(wrong, (labels + 1) % 10, labels)}


@pytest.fixture(scope="module")
def shards(data: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("examples")
    files = [str(folder / f"part-{number}.gz") for number in range(3)]
    for number, file in enumerate(files):
        with tf.io.TFRecordWriter(file, "GZIP") as writer:
            for row in range(number, EXAMPLES, 3):
                writer.write(record({name: values[row] for name, values in data.items()}))
    return files


def record(values: dict[str, Any]) -> bytes:
    import tensorflow as tf

    kinds = {
        "f": lambda v: tf.train.Feature(float_list=tf.train.FloatList(value=v)),
        "i": lambda v: tf.train.Feature(int64_list=tf.train.Int64List(value=v)),
        "S": lambda v: tf.train.Feature(bytes_list=tf.train.BytesList(value=v)),
    }
    features = {}
    for name, value in values.items():
        array = np.asarray(value).reshape(-1)
        features[name] = kinds[array.dtype.kind](array.tolist())
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def source(files: list[str]) -> ExampleFiles:
    return ExampleFiles(tuple(files), schema(), "label")


def batches(data: dict[str, np.ndarray], size: int = 128) -> Any:
    def read() -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        for start in range(0, len(data["label"]), size):
            batch = {name: values[start : start + size] for name, values in data.items()}
            labels = batch.pop("label")
            yield batch, labels

    return read


def options(**changes: Any) -> QualityOptions:
    return QualityOptions(**{"metrics": ["accuracy", "log_loss", "macro_f1"], "batch_size": 64, **changes})


def run(
    models: dict[str, Path], where: Any, settings: QualityOptions | None = None, candidate: str = "int8"
) -> Quality:
    return evaluate_quality(models[candidate], models["float"], where, settings or options(), pipeline_args=RUNNER)


def test_beam_and_plain_batches_give_the_same_report(models, shards, data, tmp_path):
    settings = options(slices=["site", "device", ["site", "device"]], min_slice_size=50)
    found, expected = run(models, source(shards), settings), run(models, batches(data), settings)
    assert found.examples == expected.examples == EXAMPLES
    by_slice = {json.dumps(part.slice): part for part in expected.slices}
    assert len(by_slice) == len(found.slices) == 3 + 3 + 9
    for part in found.slices:
        other = by_slice[json.dumps(part.slice)]
        assert (part.examples, part.skipped) == (other.examples, other.skipped)
        for name, comparison in part.metrics.items():
            mine, theirs = comparison.candidate, other.metrics[name].candidate
            assert (mine.value, mine.low, mine.high) == pytest.approx((theirs.value, theirs.low, theirs.high))
    json.dumps(found.to_dict(), allow_nan=False)


def test_figures_are_those_of_the_models_run_one_by_one(models, shards, data):
    found = run(models, source(shards)).metrics["accuracy"]
    hits = {}
    for name in ("int8", "float"):
        scores = next(iter(LoadedModel(str(models[name]), 1).run({"image": data["image"]}).values()))
        hits[name] = scores.argmax(axis=1) == data["label"]
    assert found.candidate.value == pytest.approx(hits["int8"].mean())
    assert found.baseline.value == pytest.approx(hits["float"].mean())
    assert found.drop.value == pytest.approx(hits["float"].mean() - hits["int8"].mean())
    assert found.drop.low < found.drop.value < found.drop.high


def test_slices_know_their_values_sizes_and_stricter_bounds(models, shards):
    found = run(models, source(shards), options(metrics=["accuracy"], slices=["site"], min_slice_size=100))
    sizes = {part.slice["site"]: (part.examples, part.skipped) for part in found.slices}
    assert sizes == {
        "north": (290, None),
        "south": (290, None),
        "rare": (20, "20 examples are fewer than min_slice_size 100"),
    }
    alone = 1 - 0.05 / 2  # the confidence that each of the two judged slices gets
    for part in found.slices:
        if not part.skipped:
            candidate = part.metrics["accuracy"].candidate
            hits = round(candidate.value * part.examples)
            expected = proportion(hits, part.examples, alone)
            assert (candidate.low, candidate.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("road", ["beam", "batches"])
def test_accuracy_sliced_by_the_label_is_each_classs_recall(models, shards, data, road):
    where = source(shards) if road == "beam" else batches(data)
    settings = options(metrics=["accuracy"], slices=["label"], min_slice_size=30, label_key="label")
    found = run(models, where, settings)
    scores = next(iter(LoadedModel(str(models["int8"]), 1).run({"image": data["image"]}).values()))
    right = scores.argmax(axis=1) == data["label"]
    assert sum(part.examples for part in found.slices) == EXAMPLES
    for part in found.slices:
        if not part.skipped:
            expected = right[data["label"] == part.slice["label"]].mean()
            assert part.metrics["accuracy"].candidate.value == pytest.approx(expected)


def test_an_example_without_the_feature_is_a_slice_of_its_own(models, data, tmp_path):
    import tensorflow as tf

    file = str(tmp_path / "part")
    with tf.io.TFRecordWriter(file) as writer:
        for row in range(90):
            values = {name: array[row] for name, array in data.items()}
            if row % 3 == 0:
                del values["site"]
            writer.write(record(values))
    found = run(models, source([file]), options(metrics=["accuracy"], slices=["site"], min_slice_size=1))
    sizes = {part.slice["site"]: part.examples for part in found.slices}
    assert sizes[None] == 30
    assert sum(sizes.values()) == 90


VARIED = """
feature { name: "label" type: INT presence { min_fraction: 1 } shape { } }
feature { name: "x" type: FLOAT }
feature { name: "at" type: INT int_domain { min: 0 max: 3 } }
feature { name: "value" type: FLOAT }
sparse_feature {
  name: "s" index_feature { name: "at" } value_feature { name: "value" }
}
"""


@pytest.mark.parametrize("feature", ["x", "s"])
def test_lists_and_sparse_features_are_decoded_as_the_schema_says(feature, tmp_path):
    """Every example has four values of x; of s it has two, at places of its own."""
    import tensorflow as tf
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    rng = np.random.default_rng(0)
    x, places = rng.random((50, 4), np.float32), np.sort(rng.permuted(np.tile(np.arange(4), (50, 1)), axis=1)[:, :2])
    file = str(tmp_path / "part")
    with tf.io.TFRecordWriter(file) as writer:
        for row in range(50):
            writer.write(record({"label": row % 2, "x": x[row], "at": places[row], "value": x[row, :2]}))
    parsed = text_format.Parse(VARIED, schema_pb2.Schema()).SerializeToString()
    reader = ExampleFiles((file,), parsed, "label").reader([(feature,)], [], 32)
    found = np.concatenate([features[feature] for _, features, _ in reader.batches(file)])
    expected = x
    if feature == "s":
        expected = np.zeros_like(x)
        np.put_along_axis(expected, places, x[:, :2], axis=1)
    np.testing.assert_array_equal(found, expected)


def test_a_sparse_feature_without_values_is_refused_with_the_remedy():
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    parsed = text_format.Parse(VARIED.replace('name: "value" type', 'name: "other" type'), schema_pb2.Schema())
    files = ExampleFiles(("part",), parsed.SerializeToString(), "label")
    with pytest.raises(DataError, match=r"sparse feature 's' .* takes its values from 'value', .* add that feature"):
        files.reader([("x",)], [], 32)


def test_lists_of_different_lengths_are_refused(tmp_path):
    import tensorflow as tf
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    file = str(tmp_path / "part")
    with tf.io.TFRecordWriter(file) as writer:
        for length in (4, 3):
            writer.write(record({"label": 0, "x": np.ones(length, np.float32)}))
    parsed = text_format.Parse(VARIED, schema_pb2.Schema()).SerializeToString()
    reader = ExampleFiles((file,), parsed, "label").reader([("x",)], [], 32)
    with pytest.raises(DataError, match="'x' has up to 4 values, but not as many in every example"):
        list(reader.batches(file))


@pytest.mark.parametrize("slices", [[], ["x"]])
def test_a_batch_without_any_value_of_an_input_is_refused(slices, tmp_path):
    """Also where the input tells slices apart, for which an example without it is a slice of its own."""
    import tensorflow as tf
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    file = str(tmp_path / "part")
    with tf.io.TFRecordWriter(file) as writer:
        for row in range(9):
            writer.write(record({"label": row % 2, **({"x": row / 8} if row < 8 else {})}))
    parsed = text_format.Parse(VARIED, schema_pb2.Schema()).SerializeToString()
    read = ExampleFiles((file,), parsed, "label").reader([("x",)], slices, 4).batches(file)
    assert [features["x"].tolist() for _, features, _ in (next(read), next(read))] == [
        [[0.0], [0.125], [0.25], [0.375]],
        [[0.5], [0.625], [0.75], [0.875]],
    ]
    with pytest.raises(DataError, match="'x' has no value in any of 1 examples; give it one in Transform"):
        next(read)


def test_a_schema_that_beam_cannot_read_is_told_with_the_remedy(shards):
    from tensorflow_metadata.proto.v0 import schema_pb2

    parsed = schema_pb2.Schema.FromString(schema())
    parsed.feature[0].ClearField("presence")
    reader = ExampleFiles(tuple(shards), parsed.SerializeToString(), "label").reader([("image",)], [], 32)
    with pytest.raises(DataError, match=r"Feature image had shape .*needs presence \{ min_fraction: 1 \}"):
        next(reader.batches(shards[0]))


def test_own_metrics_run_on_workers_and_here(models, shards, data):
    def top_score(labels, outputs):
        return outputs.max(axis=1)

    def mean_class(labels, outputs):
        right = outputs.argmax(axis=1) == labels
        return np.mean([right[labels == label].mean() for label in np.unique(labels)])

    own = own_metrics(
        {
            "top_score": {"function": top_score, "better": "higher", "per_example": True, "low": 0.0, "high": 1.0},
            "mean_class": {"function": mean_class, "better": "higher", "low": 0.0, "high": 1.0},
        }
    )
    found = run(models, source(shards), options(metrics=list(own), own=own))
    for comparison in found.metrics.values():
        assert comparison.problem is None
        assert comparison.candidate.low < comparison.candidate.value < comparison.candidate.high


@pytest.mark.parametrize("name", ["float32", "int8", "dynamic_int8", "any_batch", "int8_float_io"])
def test_a_batch_answers_as_its_examples_do_one_by_one(name, tmp_path, data):
    path = str(lite_models.write(tmp_path, getattr(lite_models, name)()))
    images = {"image": data["image"][:150]}
    batched = BatchedModel(path, 64)
    (found,), (expected,) = batched.run(images).values(), LoadedModel(path, 1).run(images).values()
    assert batched.step == 64
    assert found.shape == (150, 10)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0 if name == "int8" else 1e-5)


def test_a_model_whose_answers_depend_on_the_batch_runs_one_by_one(tmp_path):
    """It multiplies the examples of a batch with each other."""
    import tensorflow as tf

    class Mixing(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
        def serve(self, x):
            return {"y": tf.matmul(tf.matmul(x, x, transpose_b=True), x)}

    module = Mixing()
    path = lite_models.write(tmp_path, lite_models._from_saved_model(module, {"serving_default": module.serve}))
    batched = BatchedModel(str(path), 32)
    values = np.arange(40, dtype=np.float32).reshape(10, 4)
    expected = (values**2).sum(axis=1, keepdims=True) * values
    np.testing.assert_allclose(batched.run({"x": values})["y"], expected, rtol=1e-5)
    assert batched.step == 1


@pytest.mark.parametrize("first", [1, 2])
def test_a_batch_that_cannot_show_mixing_does_not_settle_it(first, tmp_path):
    """It attends to the examples of a batch, so alone, or among its like, an example comes out as it went in."""
    import tensorflow as tf

    class Mixing(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
        def serve(self, x):
            return {"y": tf.matmul(tf.nn.softmax(tf.matmul(x, x, transpose_b=True)), x)}

    module = Mixing()
    path = lite_models.write(tmp_path, lite_models._from_saved_model(module, {"serving_default": module.serve}))
    batched = BatchedModel(str(path), 32)
    values = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    for batch in (np.repeat(values[:1], first, axis=0), values):
        np.testing.assert_allclose(batched.run({"x": batch})["y"], batch, rtol=1e-5)
    assert batched.step == 1


@pytest.mark.parametrize("name", ["float32", "int8", "int8_float_io", "float16", "dynamic_int8", "any_batch"])
def test_probabilities_are_known_by_the_softmax_that_makes_them(name, tmp_path):
    model = inspect(lite_models.write(tmp_path, getattr(lite_models, name)()))
    assert gives_probabilities(Path(model.path).read_bytes(), choose_output(model, None)) is True


@pytest.mark.parametrize("name", ["lstm", "float_island"])
def test_logits_are_known_by_the_linear_operator_that_makes_them(name):
    assert gives_probabilities(getattr(lite_models, name)(), "logits") is False


HEADS = {
    "shares": True,
    "one_share": True,
    "sigmoid": True,
    "both_shares": True,
    "logits": False,
    "summed_logits": False,
    "last_logits": False,
    "one_logit": None,
    "rectified": None,
    "tanh": None,
    "average_share": None,
    "summed_shares": None,
    "share_and_constant": None,
    "absent": None,
}


@pytest.fixture(scope="module", params=["float32", "float16"])
def heads(request: pytest.FixtureRequest) -> bytes:
    import tensorflow as tf

    rng = np.random.default_rng(0)
    first, second, third = (rng.normal(size=(64, 2)).astype(np.float32) for _ in range(3))

    class Heads(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 64), tf.float32, name="x")])
        def serve(self, x):
            logits, other = tf.matmul(x, first), tf.matmul(tf.tanh(x), second)
            shares, others = tf.nn.softmax(logits), tf.nn.softmax(other)
            steps = tf.reshape(tf.matmul(tf.reshape(x, (8, 8)), first[:8]), (1, 8, 2))
            return {
                "shares": shares,
                "one_share": shares[:, 1:2],
                "sigmoid": tf.sigmoid(other),
                "both_shares": tf.concat([shares, others], axis=1),
                "logits": logits,
                "summed_logits": logits + other,
                "last_logits": steps[:, -1],
                "one_logit": logits[:, 1:2],
                "rectified": tf.nn.relu(tf.matmul(x, third)),
                "tanh": tf.tanh(logits),
                "average_share": 0.5 * (shares + others),
                "summed_shares": others + shares,
                "share_and_constant": tf.concat([shares, tf.ones((1, 1))], axis=1),
            }

    def setup(converter):
        if request.param == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]

    module = Heads()
    return lite_models._from_saved_model(module, {"serving_default": module.serve}, setup)


@pytest.mark.parametrize(("output", "probabilities"), HEADS.items())
def test_what_an_output_holds_is_only_said_where_its_operators_tell(heads, output, probabilities):
    assert gives_probabilities(heads, output) is probabilities


def test_an_output_of_an_unknown_kind_has_no_figures_that_depend_on_it(heads, tmp_path):
    path = lite_models.write(tmp_path, heads)
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(200, 64)).astype(np.float32), np.arange(200) % 2

    def read():
        yield {"x": x}, labels

    def problem(output, metric, scores="auto"):
        found = evaluate_quality(path, None, read, options(metrics=[metric], output=output, scores=scores))
        return found.metrics[metric].problem

    assert "say scores='logits' or 'probabilities'" in problem("one_logit", "accuracy")
    assert "say scores='logits' or 'probabilities'" in problem("average_share", "log_loss")
    for output, metric, scores in (
        ("one_logit", "accuracy", "logits"),
        ("average_share", "log_loss", "probabilities"),
        ("one_share", "accuracy", "auto"),
        ("average_share", "accuracy", "auto"),
        ("one_logit", "auc", "auto"),
    ):
        assert problem(output, metric, scores) is None


def test_files_are_found_by_pattern(shards, tmp_path):
    found = str(Path(shards[0]).parent / "part-*")
    assert list(ExampleFiles.matching([found], b"", "label").files) == shards
    for patterns in ([str(tmp_path / "absent-*")], [found, str(tmp_path / "absent-*")]):
        with pytest.raises(DataError, match=r"no file matches [^,]*absent"):
            ExampleFiles.matching(patterns, b"", "label")
    with pytest.raises(DataError, match="no file matches no pattern"):
        ExampleFiles.matching([], b"", "label")


@pytest.mark.parametrize(
    ("numbers", "told"),
    [((0, 2, 3), "there are 3, and number 1 is missing"), ((0, 1, 2), "number 3 is missing"), ((5,), "number 0"),
     ((0, 1, 2, 3, 4), "number 4 is one too many")],
)  # fmt: skip
def test_a_lost_shard_is_noticed_by_the_names_of_the_others(numbers, told, tmp_path):
    for folder, kept in (("whole", range(4)), ("part", numbers)):
        (tmp_path / folder).mkdir()
        for number in kept:
            (tmp_path / folder / f"data_tfrecord-{number:05d}-of-00004.gz").touch()
    assert len(ExampleFiles.matching([str(tmp_path / "whole" / "*")], b"", "label").files) == 4
    with pytest.raises(DataError, match=told):
        ExampleFiles.matching([str(tmp_path / folder / "*") for folder in ("whole", "part")], b"", "label")


class TestInputs:
    FEATURES = {"image": 1, "site": 2, "label": 3}

    def test_the_only_input_takes_what_is_left(self):
        assert inputs_of(self.FEATURES, ["x"], ["site", "label"]) == {"x": 1}

    def test_names_decide_where_there_are_any(self):
        assert inputs_of(self.FEATURES, ["site"], ["site", "label"]) == {"site": 2}
        assert inputs_of(self.FEATURES, ["site", "image"], ["site"]) == {"site": 2, "image": 1}

    @pytest.mark.parametrize("aside", [[], ["site"], ["image", "site", "label"]])
    def test_a_choice_is_not_guessed(self, aside):
        with pytest.raises(DataError, match="'x' cannot be fed"):
            inputs_of(self.FEATURES, ["x"], aside)


class TestFailsClosed:
    def test_no_examples(self, models, tmp_path):
        import tensorflow as tf

        file = str(tmp_path / "empty")
        tf.io.TFRecordWriter(file).close()
        for where in (source([]), source([file]), batches({"label": np.zeros(0, np.int64)})):
            with pytest.raises(DataError, match=r"no examples|no files"):
                run(models, where)

    def test_a_truncated_or_absent_shard(self, models, shards, tmp_path):
        cut = tmp_path / "cut.gz"
        cut.write_bytes(Path(shards[0]).read_bytes()[:-3000])
        for bad in (str(cut), str(tmp_path / "absent.gz")):
            with pytest.raises(DataError, match="cannot be read"):
                run(models, source([*shards, bad]))

    def test_an_example_that_lacks_a_feature(self, models, data, tmp_path):
        import tensorflow as tf

        file = str(tmp_path / "part")
        with tf.io.TFRecordWriter(file) as writer:
            writer.write(record({"image": data["image"][0]}))
        with pytest.raises(DataError, match="label"):
            run(models, source([file]))

    def test_lost_results_are_noticed(self, models, shards, monkeypatch):
        from tfx_edge.gate import beam_scoring

        original = beam_scoring._run

        def lossy(plan, reader, files, arguments, folder):
            original(plan, reader, files, arguments, folder)
            Path(folder, "1.npz").unlink()

        monkeypatch.setattr(beam_scoring, "_run", lossy)
        with pytest.raises(DataError, match=r"the result of .*part-1.gz is missing or damaged.*examples were lost"):
            run(models, source(shards))

    def test_a_folder_that_cannot_be_removed_hides_no_error_and_no_figures(self, models, shards, monkeypatch):
        from tfx_edge.gate.beam_scoring import FileSystems

        original = FileSystems.delete

        def refuses(paths):
            if "alive-" in paths[0]:
                return original(paths)
            raise OSError("a worker still writes there")

        monkeypatch.setattr(FileSystems, "delete", staticmethod(refuses))
        assert run(models, source(shards), options(metrics=["accuracy"])).examples == EXAMPLES
        with pytest.raises(DataError, match="cannot be read"):
            run(models, source(["absent"]))

    def test_counts_that_do_not_match_are_noticed(self, models, shards, monkeypatch):
        from tfx_edge.gate.scoring import Scorer

        original = Scorer.add

        def forgetful(self, features, labels):
            keep = slice(0, len(labels) - 1)
            original(self, {name: values[keep] for name, values in features.items()}, labels[keep])

        monkeypatch.setattr(Scorer, "add", forgetful)
        with pytest.raises(DataError, match=r"600 examples were read, but \d+ were kept for accuracy.*lost"):
            run(models, source(shards))

    def test_one_class_only(self, models, data):
        found = run(models, batches({**data, "label": np.zeros(EXAMPLES, np.int64)}))
        for comparison in found.metrics.values():
            assert comparison.candidate is None
            assert "all of class 0" in comparison.problem

    def test_answers_that_are_not_numbers(self, models, data):
        broken = {**data, "image": np.full_like(data["image"], np.nan)}
        found = run(models, batches(broken), candidate="any")
        assert "rows of outputs hold NaN or infinity" in found.metrics["accuracy"].problem

    def test_labels_of_another_shape(self, models, data):
        found = run(models, batches({**data, "label": np.zeros((EXAMPLES, 3), np.int64)}))
        assert "labels have the shape" in found.metrics["accuracy"].problem

    @pytest.mark.parametrize(
        ("changes", "error", "told"),
        [
            ({"metrics": ["acuracy"]}, ConfigError, "no quality metric 'acuracy'; there are accuracy"),
            ({"metrics": []}, ConfigError, "at least one metric"),
            ({"confidence": 1.0}, ConfigError, "confidence between 0.5 and 1"),
            ({"slices": ["country"]}, DataError, "'country' is not a feature of the examples"),
            ({"slices": [["site", "site"]]}, ConfigError, "different names"),
            ({"slices": ["image"]}, DataError, "cannot tell slices apart"),
            ({"output": "logits"}, ConfigError, "the candidate: .* has no output 'logits'; it has"),
        ],
    )
    def test_settings_that_cannot_work(self, models, shards, changes, error, told):
        with pytest.raises(error, match=told):
            run(models, source(shards), options(**changes))

    def test_a_damaged_model(self, models, shards, tmp_path):
        path = lite_models.write(tmp_path, models["int8"].read_bytes()[:-2000])
        with pytest.raises(ModelError):
            run({**models, "cut": path}, source(shards), candidate="cut")

    def test_a_job_that_fails_becomes_a_reason(self, models, shards):
        with pytest.raises(DeviceError, match="Beam job that scores the examples failed"):
            evaluate_quality(models["int8"], None, source(shards), options(), pipeline_args=["--runner=NoSuchRunner"])

    def test_several_outputs_must_be_named(self, tmp_path, data):
        import tensorflow as tf

        class Two(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 1), tf.float32, name="image")])
            def serve(self, image):
                flat = tf.reshape(image, (-1, 64))
                return {"low": flat[:, :10], "high": flat[:, 10:20] * 2}

        module = Two()
        content = lite_models._from_saved_model(module, {"serving_default": module.serve})
        path = lite_models.write(tmp_path, content)
        with pytest.raises(ConfigError, match=r"outputs .*high.*name the one to score"):
            evaluate_quality(path, None, batches(data), options())
        found = evaluate_quality(path, None, batches(data), options(metrics=["accuracy"], output="high"))
        expected = (data["image"].reshape(-1, 64)[:, 10:20].argmax(axis=1) == data["label"]).mean()
        assert found.metrics["accuracy"].candidate.value == pytest.approx(expected)

    def test_a_crash_stays_in_the_process_that_evaluates(self, models, shards, tmp_path):
        """Beam's local runner works in the evaluating process, so a dying interpreter takes just that one along."""
        script = tmp_path / "crash.py"
        script.write_text(
            "import os, sys\n"
            "from pathlib import Path\n"
            "from tfx_edge.gate import batched_model, quality, example_files\n"
            "batched_model.BatchedModel.run = lambda self, features: os.abort()\n"
            "files, schema, model = sys.argv[3:], bytes.fromhex(sys.argv[1]), Path(sys.argv[2])\n"
            "source = example_files.ExampleFiles(tuple(files), schema, 'label')\n"
            "quality.evaluate_quality(model, None, source, quality.QualityOptions(metrics=['accuracy']))\n"
        )
        command = [sys.executable, str(script), schema().hex(), str(models["int8"]), *shards]
        assert subprocess.run(command, capture_output=True, check=False).returncode == -6

    def test_every_refusal_is_one_of_ours(self):
        assert all(issubclass(kind, EdgeError) for kind in (ConfigError, DataError, DeviceError, ModelError))
