"""The command of the package `quality`; `--help` says what it does."""

from __future__ import annotations

from quality.command import main

if __name__ == "__main__":
    main()
