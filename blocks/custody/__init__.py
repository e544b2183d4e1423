"""Custody: the one way in and out for files. Storage, encryption and catalogue as one operation."""

from blocks.custody.custody import Custody
from blocks.custody.read import Content

__all__ = ["Content", "Custody"]
