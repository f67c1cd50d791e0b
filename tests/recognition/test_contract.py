import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginface.recognition.contract import KEY, MatchThreshold, ModelContract, TrainingData

CONTRACT = ModelContract(
    architecture="iresnet_tiny",
    dim=64,
    input_size=(56, 56),
    options={"dropout": 0.1, "widths": [8, 8, 8, 8]},
    loss="cosface",
    loss_options={"margin_cosine": 0.35, "scale": 32.0},
    training_data=TrainingData(name="Ænglish faces", identities=3, images=9, fingerprint="ab12"),
    licence_note="research only",
    versions={"marginface": "0.1.0", "torch": "2.13.0"},
    flip_average=True,
    threshold=MatchThreshold(value=0.41, fmr=1e-3, fixed_on="val pairs"),
)

names = st.text(max_size=8)
values = st.one_of(st.booleans(), st.integers(-9, 9), st.floats(-1, 1), names)


@given(
    architecture=names,
    dim=st.integers(1, 4096),
    side=st.integers(1, 224),
    options=st.dictionaries(names, values, max_size=3),
    colour=st.sampled_from(["RGB", "BGR"]),
    mean=st.tuples(*[st.floats(-300, 300)] * 3),
    std=st.tuples(*[st.floats(0.01, 300)] * 3),
    flip_average=st.booleans(),
    fmr=st.one_of(st.none(), st.floats(0, 1)),
)
def test_round_trip(fmr: float | None, side: int, **fields: object) -> None:
    threshold = MatchThreshold(value=0.5, fmr=fmr, fixed_on="here")
    contract = replace(CONTRACT, threshold=threshold, input_size=(side, side), **fields)
    metadata = contract.to_metadata()
    assert ModelContract.from_metadata(metadata) == contract
    assert ModelContract.from_metadata(metadata).to_metadata() == metadata


def test_metadata_is_text_under_one_key() -> None:
    metadata = CONTRACT.to_metadata()
    assert list(metadata) == [KEY]
    assert json.loads(metadata[KEY])["kind"] == "model"
    assert "Ænglish" in metadata[KEY]


def altered(**changes: object) -> dict[str, str]:
    content = json.loads(CONTRACT.to_metadata()[KEY]) | changes
    return {KEY: json.dumps({k: v for k, v in content.items() if v != "(gone)"})}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "metadata holds no contract under the key 'marginface'"),
        ({KEY: "{"}, "the contract is not JSON"),
        ({KEY: "[]"}, "no JSON object with a 'kind'"),
        (altered(kind="checkpoint"), "not of a model file"),
        (altered(format=2), "format must be 1, got 2; a newer marginface wrote it"),
        (altered(dim="(gone)"), "the contract lacks 'dim'"),
        (altered(colour_order="RGB"), "has the unknown field 'colour_order'"),
        (altered(dim="64"), "the contract has '64' for 'dim'"),
        (altered(dim=True), "the contract has True for 'dim'"),
        (altered(dim=0), "dim must be at least 1, got 0"),
        (altered(input_size=[56]), r"the contract has \[56\] for 'input_size'"),
        (altered(input_size=[56, 0]), r"input_size must be at least \(1, 1\), got \(56, 0\)"),
        (altered(input_size=["56", "56"]), "for 'input_size'"),
        (altered(colour="GBR"), "colour must be one of RGB, BGR; got 'GBR'"),
        (altered(template="ffhq"), "template must be one of arcface-112; got 'ffhq'"),
        (altered(mean=[1, 2]), r"mean must hold 3 finite numbers, got \(1.0, 2.0\)"),
        (altered(std=[1, 0, 1]), r"std must be greater than 0, got \(1.0, 0.0, 1.0\)"),
        (altered(options=[]), r"the contract has \[\] for 'options'"),
        (altered(training_data={"name": 3}), "for 'training_data'"),
        (altered(training_data={"name": "x"}), "for 'training_data'"),
        (altered(threshold={"value": 0.3}), "the contract does not fit"),
        (altered(threshold={"value": 3.0, "fmr": None, "fixed_on": ""}), "threshold must be"),
        (altered(threshold={"value": 0.3, "fmr": 3.0, "fixed_on": ""}), "fmr must be a fraction"),
    ],
)
def test_breaches(metadata: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelContract.from_metadata(metadata)


def test_integers_for_mean_become_numbers() -> None:
    assert ModelContract.from_metadata(altered(mean=[0, 1, 2])).mean == (0.0, 1.0, 2.0)
