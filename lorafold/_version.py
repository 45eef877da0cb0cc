"""The version, apart from the package so that every floor can import it."""

__version__ = "0.1.0"
