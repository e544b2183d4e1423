"""Measurements: each compares with a baseline in the same run and fails when its bar is missed."""
