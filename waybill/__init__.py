"""The front door: the command line and the local stack. May import every floor below."""

from importlib.metadata import version

__version__ = version("waybill")
