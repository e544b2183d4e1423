"""Custody: the one way in and out for files. Storage, encryption and catalogue as one operation."""

from blocks.custody.custody import Custody
from blocks.custody.local_copy import whole_file
from blocks.custody.reading import Content

__all__ = ["Content", "Custody", "whole_file"]
