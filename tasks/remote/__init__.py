"""Stages on remote workers: machines that share neither the storage nor the catalogue with the run.

At home: `run_on` is what a run asks for, `runner` gathers jobs into assignments (`blocks.assignments`), `following`
takes one to its end, and `outputs` fetches what workers made. On the worker: `work` claims an assignment and runs its
jobs, in the same limited processes as at home. `report` is the form in which results and errors pass between the two.
Promises that an output counts only once its hash is verified, and that a lost worker costs time and nothing else.
"""
