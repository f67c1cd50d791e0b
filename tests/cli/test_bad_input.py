"""Bad input gets one line and the right exit code, and loses nothing."""

import csv
import json
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from marginface.cli.app import run
from tests.cli.command import CTRL_C, SMALL, ends_in_one_line, started
from tests.training.tiny import bytes_of, newest, write_pack

PICTURES = Path(__file__).parents[1] / "pictures"
Fails = Callable[[list[str], int, str], None]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("bad") / "patterns.pack")


@pytest.fixture(scope="module")
def stopped(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """A run that Ctrl-C stopped in its fifth step, with its exit code and what it said."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    ctrl_c = CTRL_C.format(module="marginface.training.loop", name="take_step", number=5)
    with started(*training(pack, out), first=ctrl_c) as child:
        code, told = ends_in_one_line(child)
    return out, code, told


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    def check(words: list[str], code: int, message: str) -> None:
        capsys.readouterr()
        assert run(words) == code
        out, err = capsys.readouterr()
        assert re.search(message, err), err
        assert len(err.strip().splitlines()) == 1, err
        assert "Traceback" not in out + err

    return check


def training(pack: Path, out: Path, loss: str = "arcface") -> list[str]:
    words = ["train", str(pack), str(out), *SMALL, "--steps", "80", "--log-every", "1"]
    return [*words, "--loss.name", loss]


def people(folder: Path, count: int = 4) -> Path:
    """Copy the first picture of some people into an identity folder."""
    for person in sorted(path for path in PICTURES.iterdir() if path.is_dir())[:count]:
        (folder / person.name).mkdir(parents=True)
        shutil.copy(sorted(person.iterdir())[0], folder / person.name)
    return folder


def test_a_missing_folder(tmp_path: Path, fails: Fails) -> None:
    words = ["data", "pack", str(tmp_path / "absent"), str(tmp_path / "out")]
    fails(words, 1, r"absent must be a folder with one folder per person, got ")
    assert not (tmp_path / "out").exists()


def test_an_empty_folder(tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "empty").mkdir()
    words = ["data", "pack", str(tmp_path / "empty"), str(tmp_path / "out")]
    fails(words, 1, r"empty must hold empty/PERSON/PICTURE.jpg, ")
    assert not (tmp_path / "out").exists()


def test_one_identity_only(tmp_path: Path, fails: Fails) -> None:
    alone = write_pack(tmp_path / "alone.pack", identities=1)
    words = training(alone, tmp_path / "run")
    fails(words, 1, r"alone.pack must hold 2 identities or more, got 1")
    assert not (tmp_path / "run").exists()


def test_truncated_pictures_and_text_are_listed_and_the_rest_is_packed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = people(tmp_path / "people", 2)
    first, second = sorted(path for path in source.iterdir() if path.is_dir())
    whole = next(first.iterdir()).read_bytes()
    (first / "cut.jpg").write_bytes(whole[: len(whole) // 3])
    (second / "text.jpg").write_text("this is no picture\n")
    out = tmp_path / "out.pack"
    assert run(["data", "pack", str(source), str(out), "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["left_out"] == {"unreadable": 2}
    assert record["images"] == 2
    with (out / "left_out.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert {(name, reason) for name, reason, _ in rows} == {
        (f"{first.name}/cut.jpg", "unreadable"),
        (f"{second.name}/text.jpg", "unreadable"),
    }


def test_a_landmark_file_with_a_wrong_column(tmp_path: Path, fails: Fails) -> None:
    columns = "file,eye1_x,eye1_y,eye2_x,eye2_y,nose_x,nose_y,mouth1_x,mouth1_y,mouth2_x,mouth_y"
    (tmp_path / "points.csv").write_text(columns + "\n")
    words = ["data", "pack", str(people(tmp_path / "people", 2)), str(tmp_path / "out")]
    fails(
        [*words, "--landmarks", str(tmp_path / "points.csv")],
        1,
        r"points.csv line 1: landmarks need the columns .*; mouth2_y missing, got file, ",
    )
    assert not (tmp_path / "out").exists()


def test_a_pair_list_that_names_a_missing_picture_trains_nothing(
    pack: Path, tmp_path: Path, fails: Fails
) -> None:
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("1\t1\nperson_0\t1\t2\nperson_0\t1\tperson_1\t77\n")
    missing = r"pairs.txt line 3: image 'person_1/person_1_0077\.\*' not found under --images"
    judged = ["--images", str(pack), "--pairs", str(pairs)]
    fails(["evaluate", "sface", *judged], 1, missing)
    fails(["compare", str(pack), str(tmp_path / "out"), *judged, *SMALL], 1, missing)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--loss.options.margin-rad", "28.6"], r"margin_rad must .* math.radians\(28.6\)"),
        (["--device", "cuda:77"], "device must be one this machine has, got 'cuda:77'; leave it"),
    ],
)
def test_words_that_training_refuses(
    pack: Path, tmp_path: Path, fails: Fails, options: list[str], message: str
) -> None:
    fails([*training(pack, tmp_path / "run"), *options], 2, message)
    assert not (tmp_path / "run").exists()


def test_an_unknown_loss(pack: Path, tmp_path: Path, fails: Fails) -> None:
    fails(training(pack, tmp_path / "run", "arcfase"), 2, "did you mean 'arcface'")
    assert not (tmp_path / "run").exists()


def test_a_margin_that_is_a_word(pack: Path, tmp_path: Path) -> None:
    # In a process of its own: here the types of every argument are checked before the loss can.
    words = [*training(pack, tmp_path / "run"), "--loss.options.margin-rad", "abc"]
    with started(*words) as child:
        code, told = ends_in_one_line(child)
    assert (code, told) == (2, "margin_rad must be a number, got 'abc'\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "-3"], "size must be 1 pixel or more, got -3"),
        (["--min-face-px", "-1"], "min_face_px must be 0 or more, got -1"),
    ],
)
def test_sizes_that_packing_refuses(
    tmp_path: Path, fails: Fails, options: list[str], message: str
) -> None:
    source = people(tmp_path / "people", 1)
    fails(["data", "pack", str(source), str(tmp_path / "out"), *options], 2, message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gallery", "staff.gallery"], "See `marginface gallery --help`"),
        (["verify", "sface"], "See `marginface verify --help`"),
        (["losess"], "See `marginface --help`"),
    ],
)
def test_wrong_words_point_at_the_help_of_their_command(
    fails: Fails, words: list[str], message: str
) -> None:
    fails(words, 2, message)


def test_identify_refuses_nobody_before_it_looks_for_pictures(fails: Fails) -> None:
    fails(["identify", "sface", "absent.gallery", "absent.jpg", "--k", "0"], 2, "k must be at leas")


def test_noise_of_a_folder_that_is_no_run(tmp_path: Path, fails: Fails) -> None:
    fails(["noise", str(tmp_path)], 1, r"must be a run's folder, with config\.json$")
    run_of_study = tmp_path / "runs" / "sface" / "seed-0"
    run_of_study.mkdir(parents=True)
    (run_of_study / "config.json").write_text("{}")
    fails(["noise", str(tmp_path)], 1, f"of a comparison give one run, {run_of_study} say")


def test_a_demo_of_unknown_losses_makes_no_world(tmp_path: Path, fails: Fails) -> None:
    fails(["demo", "--out", str(tmp_path / "demo"), "--losses", "softmx"], 2, "mean 'softmax'")
    assert not (tmp_path / "demo").exists()


def test_a_pack_in_the_way_is_kept(pack: Path, tmp_path: Path, fails: Fails) -> None:
    before = (pack / "pack.json").read_bytes()
    source = people(tmp_path / "people", 1)
    message = r"is a pack already; give another name, or replace it \(--replace, may_replace=True"
    fails(["data", "pack", str(source), str(pack)], 1, message)
    assert (pack / "pack.json").read_bytes() == before


def test_ctrl_c_leaves_a_run_that_goes_on(
    stopped: tuple[Path, int, str], pack: Path, tmp_path: Path
) -> None:
    out, code, told = stopped
    assert code == 130
    assert re.search(r"stopped after step 5 of 80; everything is in .*; run the same", told)
    again = Path(shutil.copytree(out, tmp_path / "run"))
    record = tmp_path / "record.json"
    assert run([*training(pack, again), "--json", str(record)]) == 0
    assert json.loads(record.read_text())["is_complete"]
    steps = [json.loads(line)["step"] for line in (again / "log.jsonl").read_text().splitlines()]
    assert [*dict.fromkeys(steps)] == list(range(1, 81))


def test_a_checkpoint_of_another_architecture_is_kept(
    stopped: tuple[Path, int, str], pack: Path, fails: Fails
) -> None:
    out = stopped[0]
    before = bytes_of(newest(out))
    message = r"checkpoint-\d+ .*backbone.name.*mobilefacenet"
    words = [*training(pack, out), "--backbone.name", "mobilefacenet"]
    fails(words, 1, message)
    assert bytes_of(newest(out)) == before


def test_a_full_disk_costs_no_checkpoint(
    stopped: tuple[Path, int, str], pack: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(stopped[0], tmp_path / "run"))
    before = bytes_of(newest(out))
    # Room for the log and the config, but not for a whole checkpoint.
    limit = sum(map(len, before.values())) // 2
    with started(
        *training(pack, out),
        "--checkpoint-every-steps",
        "1",
        prepare=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    ) as child:
        code, told = ends_in_one_line(child)
    assert code == 1
    assert re.search(r"checkpoint-\d+ could not be written \(File too large\); what", told)
    assert bytes_of(newest(out)) == before
    assert not list(out.glob(".*.part"))
