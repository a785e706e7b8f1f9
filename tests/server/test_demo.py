"""`foveal demo` on a few seconds of street."""

from pathlib import Path

import pytest

from foveal.__main__ import main


def test_the_street_answers_its_questions_and_says_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--seconds", "4", "--seed", "3", "--keep", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "A rendered street: 100 frames" in out
    assert "the detector was trained on such drawings" in out
    assert out.count("   truth ") >= 3
    assert out.count("calls saved   guarantee") == 4
    assert (tmp_path / "street.mp4").is_file()
    assert (tmp_path / "demo.db").is_file()


def test_a_folder_that_cannot_be_made_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--keep", "/dev/null/here"]) == 1
    assert "ERROR 58030" in capsys.readouterr().err


def test_a_length_of_nothing_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--seconds", "0"]) == 1
    assert "ERROR 22023" in capsys.readouterr().err
