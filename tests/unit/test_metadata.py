"""TFLite's standard metadata in a model: what is written can be read, and the model stays what it was."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import lite_models
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.errors import ConfigError, ModelError
from tfx_edge.lite.inspect import inspect
from tfx_edge.model_metadata import container, schema
from tfx_edge.model_metadata.metadata import carry_metadata, read_metadata, with_metadata
from tfx_edge.model_metadata.settings import Metadata, TensorMetadata

DIGITS = tuple(f"digit {number}" for number in range(10))
METADATA = Metadata(
    name="digits",
    description="Tells handwritten digits apart.",
    version="3",
    author="someone",
    license="Apache-2.0",
    inputs={
        "image": TensorMetadata(description="grey levels", image="grayscale", mean=(0,), std=(255,), min=(0,), max=(1,))
    },
    outputs={"probability": TensorMetadata(labels=DIGITS, score_threshold=0.5)},
)


def outputs(content: bytes) -> list[np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    generator = np.random.default_rng(0)
    found = []
    for name in sorted(interpreter.get_signature_list()):
        runner = interpreter.get_signature_runner(name)
        details = runner.get_input_details()
        inputs = {key: (50 * generator.normal(size=d["shape"])).astype(d["dtype"]) for key, d in details.items()}
        found += [value for _, value in sorted(runner(**inputs).items())]
    return found


def in_big_blocks() -> bytes:
    """The float CNN with its constants behind the flatbuffer, as files above 2 GB have them."""
    from ai_edge_litert import schema_py_generated as schema

    def setup(converter: Any) -> None:
        converter._experimental_use_buffer_offset = True

    content = bytes(lite_models._convert(lite_models.cnn(), lite_models.IMAGE_SHAPE, setup))
    model = schema.Model.GetRootAs(content, 0)
    assert any(model.Buffers(number).Offset() > 1 for number in range(model.BuffersLength()))
    return content


@pytest.mark.parametrize(
    "name", ["float32", "int8", "int4_weights", "lstm", "two_signatures", "sparse", "in_big_blocks"]
)
def test_model_computes_the_same_and_keeps_its_signatures(name: str, tmp_path: Path) -> None:
    content = bytes(in_big_blocks() if name == "in_big_blocks" else getattr(lite_models, name)())
    described = with_metadata(content, Metadata(name=name))
    before = inspect(lite_models.write(tmp_path, content, "before"))
    after = inspect(lite_models.write(tmp_path, described, "after"))
    assert after.signatures == before.signatures
    assert after.subgraphs == before.subgraphs
    assert after.weight_bytes_by_dtype == before.weight_bytes_by_dtype
    assert after.metadata == (*before.metadata, "TFLITE_METADATA")
    for wanted, found in zip(outputs(content), outputs(described), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = read_metadata(lite_models.write(tmp_path, with_metadata(lite_models.float32(), METADATA)))
    (graph,) = found["subgraph_metadata"]
    (image,), (probability,) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    assert (found["name"], found["version"], found["license"]) == ("digits", "3", "Apache-2.0")
    assert found["min_parser_version"] == "1.0.0"
    assert image["process_units"] == [{"options": {"type": "NormalizationOptions", "mean": [0.0], "std": [255.0]}}]
    assert image["content"] == {"content_properties": {"type": "ImageProperties", "color_space": 2}}
    assert image["stats"] == {"min": [0.0], "max": [1.0]}
    assert probability["associated_files"] == [{"name": "probability_labels.txt", "type": 2}]
    assert found["packed_files"] == ["probability_labels.txt"]


def test_labels_lie_uncompressed_behind_the_model_with_a_fixed_date() -> None:
    described = with_metadata(lite_models.float32(), METADATA)
    with zipfile.ZipFile(io.BytesIO(described)) as archive:
        (entry,) = archive.infolist()
        assert archive.read(entry) == "".join(f"{label}\n" for label in DIGITS).encode()
    assert (entry.compress_type, entry.date_time) == (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))
    assert described[entry.header_offset :].startswith(b"PK\x03\x04")  # Android reads the position as it stands there


def test_equal_metadata_give_equal_bytes() -> None:
    content = lite_models.float32()
    assert with_metadata(content, METADATA) == with_metadata(content, METADATA)
    assert with_metadata(content, METADATA) != with_metadata(content, METADATA.model_copy(update={"version": "4"}))


def test_later_metadata_take_the_place_of_earlier_ones(tmp_path: Path) -> None:
    twice = with_metadata(with_metadata(lite_models.float32(), METADATA), Metadata(name="other"))
    path = lite_models.write(tmp_path, twice)
    assert inspect(path).metadata.count("TFLITE_METADATA") == 1
    assert (read_metadata(path)["name"], read_metadata(path)["packed_files"]) == ("other", [])


def test_tensors_stay_aligned() -> None:
    """XNNPACK and the kernels read constants in whole vectors."""
    from tfx_edge.lite import flatbuffer

    content = bytes(lite_models.float32())

    def remainders(model: bytes) -> list[int]:
        start = np.frombuffer(model, np.uint8).ctypes.data
        return [(buffer.ctypes.data - start) % 16 for buffer in flatbuffer.parse(model).buffers if buffer.size > 16]

    found = remainders(with_metadata(content, METADATA))
    assert found == [*remainders(content), 0]


def test_quantizer_loses_the_labels_and_carrying_brings_them_back(tmp_path: Path) -> None:
    source = with_metadata(lite_models.float32(), METADATA)
    target = lite_models.int8()
    carried = carry_metadata(source, target)
    assert container.associated_files(carried) == container.associated_files(source)
    (image,) = read_metadata(lite_models.write(tmp_path, carried))["subgraph_metadata"][0]["input_tensor_metadata"]
    assert image["stats"]["min"] == [-128.0]
    assert image["stats"]["max"][0] >= 126.0
    assert image["process_units"][0]["options"]["std"] == [255.0]
    for wanted, found in zip(outputs(target), outputs(carried), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_nothing_to_carry_leaves_the_target_alone() -> None:
    assert carry_metadata(lite_models.float32(), lite_models.int8()) == lite_models.int8()


def test_metadata_of_another_model_are_not_carried() -> None:
    with pytest.raises(ModelError, match="with sequence"):
        carry_metadata(with_metadata(lite_models.float32(), METADATA), lite_models.lstm())


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (Metadata(inputs={"picture": TensorMetadata()}), "no input 'picture': it has 'image'"),
        (Metadata(outputs={"probability": TensorMetadata(labels=("a", "b"))}), "10 classes, but there are 2 labels"),
        (Metadata(outputs={"probability": TensorMetadata(labels="/nowhere/labels.txt")}), "/nowhere/labels.txt"),
        (Metadata(files=("/nowhere/readme.txt",)), "/nowhere/readme.txt"),
    ],
)
def test_impossible_metadata_are_refused(metadata: Metadata, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_metadata(lite_models.float32(), metadata)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mean": [0, 1], "std": [1]}, "as many mean as std"),
        ({"mean": [0], "std": [0]}, "above 0"),
        ({"labels": ["one\ntwo"]}, "one line"),
        ({"image": "rgb", "audio": {"sample_rate": 16000}}, "not both"),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Metadata.parse({"inputs": {"image": fields}})


def test_sound_needs_a_reader_of_version_1_3(tmp_path: Path) -> None:
    sound = Metadata.parse({"inputs": {"image": {"audio": {"sample_rate": 16000}}}})
    found = read_metadata(lite_models.write(tmp_path, with_metadata(lite_models.float32(), sound)))
    assert found["min_parser_version"] == "1.3.0"


def test_files_come_from_disk(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("".join(f"{label}\n" for label in DIGITS))
    (tmp_path / "readme.txt").write_text("read me")
    metadata = Metadata(
        outputs={"probability": TensorMetadata(labels=str(tmp_path / "names.txt"))},
        files=(str(tmp_path / "readme.txt"),),
    )
    described = with_metadata(lite_models.float32(), metadata)
    assert container.associated_files(described) == {
        "probability_labels.txt": (tmp_path / "names.txt").read_bytes(),
        "readme.txt": b"read me",
    }


def test_a_model_without_metadata_has_none(tmp_path: Path) -> None:
    assert read_metadata(lite_models.write(tmp_path, lite_models.float32())) == {}


TEXT = st.text(max_size=8).filter(bool)
FLOATS = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=3)
UNIT = st.one_of(
    st.fixed_dictionaries({"type": st.just("NormalizationOptions"), "mean": FLOATS, "std": FLOATS}),
    st.fixed_dictionaries({"type": st.just("RegexTokenizerOptions"), "delim_regex_pattern": TEXT}),
)
TENSOR = st.fixed_dictionaries(
    {
        "name": TEXT,
        "content": st.just({"content_properties": {"type": "AudioProperties", "sample_rate": 8000, "channels": 2}}),
        "process_units": st.lists(st.fixed_dictionaries({"options": UNIT}), min_size=1, max_size=2),
    }
)
GRAPH = st.fixed_dictionaries(
    {
        "input_tensor_metadata": st.lists(TENSOR, min_size=1, max_size=3),
        "output_tensor_groups": st.just([{"name": "found", "tensor_names": ["box", "score"]}]),
        "custom_metadata": st.lists(
            st.fixed_dictionaries({"name": TEXT, "data": st.lists(st.integers(0, 255), min_size=1, max_size=5)}),
            min_size=1,
            max_size=2,
        ),
    }
)


@given(st.fixed_dictionaries({"name": TEXT, "subgraph_metadata": st.lists(GRAPH, min_size=1, max_size=2)}))
@settings(max_examples=50, deadline=None)
def test_every_document_comes_back_as_it_was(document: dict[str, Any]) -> None:
    assert schema.decode(schema.encode(document)) == document


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damage_is_an_error_or_harmless(data: st.DataObject) -> None:
    content = bytearray(schema.encode({"name": "model", "subgraph_metadata": [{"name": "main"}]}))
    position = data.draw(st.integers(0, len(content) - 4))
    struct.pack_into("<I", content, position, data.draw(st.integers(0, 2**32 - 1)))
    with contextlib.suppress(ModelError):
        schema.decode(bytes(content))
