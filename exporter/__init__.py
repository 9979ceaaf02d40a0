"""The program: it polls CI systems in rounds and serves what it knows to Prometheus."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ci-exporter")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
