"""Every sample runs, and sees what it promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent.parent / "samples"


@pytest.mark.parametrize("sample", sorted(path.name for path in SAMPLES.glob("*.py")))
def test_a_sample_runs(place, sample):
    environment = {**os.environ, "SIDELOCK_SOCKET": place.socket}
    command = [sys.executable, str(SAMPLES / sample)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("\n") == 1, ran.stdout


def test_samples_can_be_read_at_a_glance():
    assert all(len(path.read_text().splitlines()) <= 60 for path in SAMPLES.glob("*.py"))
