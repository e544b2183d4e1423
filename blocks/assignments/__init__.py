"""Assignments: jobs of one stage that a run gives to a remote worker together.

One worker has an assignment at a time. One that is lost goes to another worker, and what was done stays done.
"""
