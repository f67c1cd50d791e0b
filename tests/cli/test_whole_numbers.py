"""A number of processes, pictures or steps is a whole one; the command line rounds none."""

from collections.abc import Iterator
from functools import reduce
from typing import get_args

import pytest
from cyclopts import App, Token
from cyclopts.argument import Argument
from cyclopts.exceptions import CoercionError

from marginface.cli.app import app, run
from marginface.training import TrainConfig
from tests.cli.command import SMALL


def commands(table: App, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command of a table, and of those of the tables in it."""
    for name in (name for name in table if not name.startswith("-")):
        is_table = table[name].default_command is None
        yield from commands(table[name], (*words, name)) if is_table else [(*words, name)]


def whole_options() -> Iterator[tuple[str, Argument, Argument]]:
    """Yield every option that stands for whole numbers: its name, itself, what it is a part of."""
    for words in commands(app):
        # What a command inherits is known while it is called.
        with app.app_stack(words):
            options = reduce(App.__getitem__, words, app).assemble_argument_collection(
                parse_docstring=False
            )
        for whole in (option for option in options if not option.keys):
            for option in (whole, *whole.children_recursive):
                if int in (option.hint, *get_args(option.hint)):
                    yield f"{' '.join(words)} {option.name}", option, whole


def test_every_option_for_a_whole_number_refuses_a_fraction() -> None:
    names = set()
    for name, option, whole in whole_options():
        names.add(name)
        option.append(Token(keyword=option.name, value="1.5", source="test"))
        with pytest.raises(CoercionError) as raised:
            whole.convert()
        assert f"{option.name}: it must be a whole number, got '1.5'" in str(raised.value), name
        option.tokens.clear()
    assert {"train --nproc", "train --batch-size", "train --schedule.warmup-steps"} <= names
    assert {"compare --seeds", "data world --identities", "protocol pairs --seed"} <= names


def test_a_fraction_is_told_with_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "absent.pack", "run", *SMALL, "--nproc", "1.5"]) == 2
    assert "for --nproc: it must be a whole number, got '1.5'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--steps", "7"], "steps", 7),
        (["--batch-size", "0x10"], "batch_size", 16),
        (["--checkpoint-every-steps", "none"], "checkpoint_every_steps", None),
        (["--clip-norm", "1.5"], "clip_norm", 1.5),
        (["--epochs", "2.5"], "epochs", 2.5),
        (["--layer-rates.stem", "0.5"], "layer_rates", {"stem": 0.5}),
    ],
)
def test_what_else_a_number_may_be_is_read_as_before(
    words: list[str], field: str, value: object
) -> None:
    _, bound, _ = app.parse_args(["train", "a.pack", "run", *words], exit_on_error=False)
    assert field in TrainConfig.__dataclass_fields__
    assert getattr(bound.arguments["config"], field) == value
