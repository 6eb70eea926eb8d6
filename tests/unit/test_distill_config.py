"""What Distiller is told to do: schedules, losses, where the student comes from, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tfx import types
from tfx.types import standard_artifacts

from tfx_edge import Distiller
from tfx_edge.distillation.settings import Derivation, derivation
from tfx_edge.distiller.spec import DistillerConfig
from tfx_edge.errors import ConfigError, UserCodeError

MODEL = types.Channel(type=standard_artifacts.Model)
OTHER = types.Channel(type=standard_artifacts.Model)
EXAMPLES = types.Channel(type=standard_artifacts.Examples)
SCHEMA = types.Channel(type=standard_artifacts.Schema)
FEATURE = {"kind": "feature", "layers": ["hidden"]}


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["linear", "cosine"]), st.floats(0.1, 20), st.floats(0.1, 20), st.integers(2, 50))
def test_a_schedule_goes_from_its_start_to_its_end(kind: str, start: float, end: float, epochs: int) -> None:
    schedule = DistillerConfig.parse({"temperature": {"kind": kind, "start": start, "end": end}}).temperature
    values = [schedule.at(epoch, epochs) for epoch in range(epochs)]
    assert values[0] == pytest.approx(start)
    assert values[-1] == pytest.approx(end)
    assert values == pytest.approx(sorted(values, reverse=start > end))
    assert schedule.at(0, 1) == pytest.approx(start)


def test_a_cosine_is_slow_at_its_ends_and_a_number_is_constant() -> None:
    shares = DistillerConfig.parse({"alpha": {"kind": "cosine", "start": 0, "end": 1}, "temperature": 3})
    assert shares.alpha.at(1, 11) < 0.05 < 0.1 < shares.alpha.at(3, 11)
    assert {shares.temperature.at(epoch, 5) for epoch in range(5)} == {3.0}


def test_the_json_of_a_configuration_is_the_configuration() -> None:
    config = DistillerConfig.parse({"losses": [FEATURE, {"kind": "relational"}], "teacher_weights": [1, 2]})
    assert DistillerConfig.parse(config.to_json()) == config
    assert config.losses[0].layers[0].model_dump() == {"teacher": "hidden", "student": "hidden", "of": 0}
    assert DistillerConfig.parse({}) == DistillerConfig.parse(
        {"losses": [{"kind": "logit"}], "temperature": {"kind": "constant", "value": 4.0}}
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("same", Derivation()),
        ("width:0.25", Derivation(width=0.25)),
        ("depth:0.5", Derivation(depth=0.5)),
        ("depth:0.5, width:0.75", Derivation(width=0.75, depth=0.5)),
    ],
)
def test_a_student_is_derived(text: str, expected: Derivation) -> None:
    assert derivation(text) == expected


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"student": "width"}, "give 'same', 'width:0.25'"),
        ({"student": "width:0"}, "cannot be derived"),
        ({"student": "width:1.5"}, "between 0 and 1"),
        ({"student": "width:nan"}, "cannot be derived"),
        ({"student": "width:0.5,width:0.5"}, "cannot be derived"),
        ({"losses": []}, "losses"),
        ({"losses": [{"kind": "hint"}]}, "'logit', 'feature', 'attention', 'relational'"),
        ({"losses": [{"kind": "feature"}]}, "layers"),
        ({"losses": [{**FEATURE, "angle": 1}]}, "unknown key 'losses.0.feature.angle'"),
        ({"losses": [{"kind": "relational", "distance": 0, "angle": 0}]}, "nothing is compared"),
        ({"temperature": 0}, "a temperature is above 0"),
        ({"temperature": {"kind": "linear", "start": 4, "end": -1}}, "a temperature is above 0"),
        ({"alpha": {"kind": "cosine", "start": 0, "end": 2}}, "alpha is between 0 and 1"),
        ({"alpha": "half"}, "alpha"),
        ({"alpha": 1}, "alpha 1 gives .* no weight .* give less"),
        ({"alpha": {"kind": "cosine", "start": 1, "end": 1}}, "alpha 1 gives .* no weight"),
        ({"alpha": {"kind": "linear", "start": 1, "end": 0}, "epochs": 1}, "alpha 1 gives .* no weight"),
        ({"losses": [FEATURE], "temperature": 9}, "temperature belongs to loss 'logit', and losses has 'feature' only"),
        (
            {"losses": [FEATURE], "temperature": {"kind": "linear", "start": 9, "end": 1}, "patience": 2},
            "temperature belongs to loss 'logit'.*leave temperature out",
        ),
        ({"teacher_weights": [1, 0]}, "teacher_weights"),
        ({"outputs": {"scores": "labels"}}, "outputs.scores"),
        ({"patience": 1, "alpha": {"kind": "linear", "start": 0, "end": 1}}, "monitor val_label_loss"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        DistillerConfig.parse(config)


def test_alpha_may_reach_one_and_a_temperature_be_named_as_it_is_anyhow() -> None:
    DistillerConfig.parse({"alpha": {"kind": "linear", "start": 1, "end": 0}, "epochs": 2})
    DistillerConfig.parse({"losses": [FEATURE, {"kind": "logit"}], "temperature": 9})
    config = DistillerConfig.parse({"losses": [FEATURE], "patience": 2})
    assert DistillerConfig.parse(config.to_json()) == config


def distiller(config: dict[str, Any], **arguments: Any) -> Distiller:
    return Distiller(model=MODEL, examples=EXAMPLES, schema=SCHEMA, label_key="label", config=config, **arguments)


def test_a_derived_student_needs_no_module() -> None:
    assert "module_file" not in distiller({"student": "width:0.5"}).spec.exec_properties


def test_there_is_one_student(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def build_student_fn(fn_args): ...\n")
    with pytest.raises(ConfigError, match=r"given twice.*'same'.*module\.py"):
        distiller({"student": "same"}, module_file=str(module))
    with pytest.raises(ConfigError, match="or give config student"):
        distiller({})
    module.write_text("def compile_fn(model, fn_args): ...\n")
    distiller({"student": "same"}, module_file=str(module))
    with pytest.raises(UserCodeError, match="does not define build_student_fn"):
        distiller({}, module_file=str(module))


def test_further_teachers_are_a_channel_or_several() -> None:
    one = distiller({"student": "same", "teacher_weights": [1, 2]}, teachers=OTHER)
    assert one.spec.inputs["teachers"] is OTHER
    three = distiller({"student": "same", "teacher_weights": [1, 2, 3]}, teachers=[OTHER, MODEL])
    assert three.spec.inputs["teachers"] is OTHER
    assert three.spec.inputs["teachers_2"] is MODEL
    assert "teachers" not in distiller({"student": "same"}).spec.inputs


def test_what_speaks_of_teachers_needs_them() -> None:
    with pytest.raises(ConfigError, match="2 numbers for one teacher"):
        distiller({"student": "same", "teacher_weights": [1, 2]})
    layers = [{"teacher": "a", "student": "b", "of": 1}]
    with pytest.raises(ConfigError, match="a layer of teacher 1: give teachers"):
        distiller({"student": "same", "losses": [{"kind": "feature", "layers": layers}]})
    with pytest.raises(ConfigError, match="teachers has 0 channels; give 1 to 16"):
        distiller({"student": "same"}, teachers=[])
    with pytest.raises(ConfigError, match="teachers has 17 channels; give 1 to 16"):
        distiller({"student": "same"}, teachers=[OTHER] * 17)
    with pytest.raises(ConfigError, match="teacher_weights has 2 numbers for 3 teachers"):
        distiller({"student": "same", "teacher_weights": [1, 2]}, teachers=[OTHER, MODEL])
    with pytest.raises(ConfigError, match="a layer of teacher 1: give teachers"):
        distiller({"student": "same", "losses": [{"kind": "feature", "layers": layers}]})
