"""What importing the package costs, and what it offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lorafold.geometry

IMPORT = "import sys, lorafold.geometry; print([name for name in ('geoopt', 'scipy') if name in sys.modules])"


def test_importing_the_package_loads_neither_geoopt_nor_scipy():
    run = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_export_exists():
    for name in lorafold.geometry.__all__:
        assert getattr(lorafold.geometry, name) is not None


def test_other_names_do_not():
    with pytest.raises(AttributeError, match="has no attribute 'Stiefel'"):
        _ = lorafold.geometry.Stiefel
