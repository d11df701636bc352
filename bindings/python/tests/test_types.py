"""What type checkers make of users' programs: they pass what is right, and find what is wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "types"
CHECKERS = {
    "mypy": ["-m", "mypy", "--strict", "--no-error-summary"],
    "pyright": ["-m", "pyright", "--pythonpath", sys.executable],
}


def check(checker, program, folder):
    """What it says, and which lines it complains about."""
    command = [sys.executable, *CHECKERS[checker], str(PROGRAMS / program)]
    said = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    lines = {int(line) for line in re.findall(rf"{program}:(\d+)[:\d]*:? ?-? error", said.stdout)}
    return said, lines


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_right_program_passes(checker, tmp_path):
    said, _ = check(checker, "right.py", tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("checker", CHECKERS)
def test_each_wrong_line_is_found(checker, tmp_path):
    text = (PROGRAMS / "wrong.py").read_text().splitlines()
    wrong = {number for number, line in enumerate(text, 1) if "# wrong" in line}
    said, lines = check(checker, "wrong.py", tmp_path)
    assert lines == wrong, said.stdout + said.stderr
