"""Imports point down only: the contracts in pyproject.toml hold, as `lint-imports` says."""

import logging.config
from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parent.parent


def test_the_packages_imports_point_down_only(monkeypatch):
    # It would switch off the loggers of all other tests in this process.
    monkeypatch.setattr(logging.config, "dictConfig", lambda settings: None)
    assert lint_imports(str(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS
