"""`marginface recipes` and `train --smoke`, as a user meets them."""

import json
from pathlib import Path

import pytest

from marginface.cli.app import run
from marginface.recipes import PUBLISHED, RECIPES
from marginface.training import TrainConfig
from tests.test_docs import unknown_calls
from tests.training.tiny import write_pack


def test_the_table_has_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes"]) == 0
    text = capsys.readouterr().out
    for name in RECIPES:
        # Whole: a name is there to be copied.
        assert f"│ {name} " in text
    assert "Return" not in text
    assert "CPLFW 93.27 ± 0.65" in text
    assert "IJB-B 49.39 (not named)" in text
    assert "UniformFace: its loss is not in this library" in text


def test_the_record_has_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record["recipes"]) == list(RECIPES)
    for name, row in PUBLISHED.items():
        expected = record["recipes"][name]["expected"]
        assert [one["value"] for one in expected] == [figure.value for figure in row.figures]
        assert all(one["source"] for one in expected)


@pytest.mark.parametrize("name", ["small", "sface-r50-casia", "elasticface-cos-plus-r100-ms1mv2"])
def test_one_recipe_in_full(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", name, "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    config = TrainConfig.from_dict(record["config"])
    assert config == RECIPES[name](config.data.path)
    assert any(f"--recipe {name} --smoke" in command for command in record["commands"])
    assert unknown_calls("\n".join(record["commands"])) == []
    assert run(["recipes", name]) == 0
    text = capsys.readouterr().out
    assert "optimizer.weight_decay" in text
    for line in record["inferred"] + record["commands"]:
        assert line in text


def test_the_nearest_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", "adaface-r50-cassia"]) == 2
    assert "did you mean 'adaface-r50-casia'?" in capsys.readouterr().err


def test_a_smoke_run_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = write_pack(tmp_path / "patterns.pack")
    words = ["train", str(pack), str(tmp_path / "run"), "--recipe", "arcface-r50-ms1mv2", "--smoke"]
    assert run([*words, "--steps", "2", "--backbone.input-size", "32", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert "its numbers mean nothing" in err
    record = json.loads(out)
    assert (record["steps"], record["is_smoke"]) == (2, True)
    assert record["config"]["loss"]["options"]["gradient"] == "true"
    assert record["config"]["backbone"]["name"] == "iresnet_tiny"


def test_a_smoke_run_can_be_given_in_epochs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(tmp_path / "absent.pack"), str(tmp_path / "run"), "--smoke"]
    assert run([*words, "--epochs", "1"]) == 1  # past the config, to the pack that is not there
    assert "absent.pack" in capsys.readouterr().err
