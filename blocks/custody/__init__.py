"""Custody: the one way in and out for files. Storage, encryption and catalogue as one operation."""

from blocks.custody.custody import Custody
from blocks.custody.read import Content
from blocks.runtime.atomic_file import whole_file

__all__ = ["Content", "Custody", "whole_file"]
