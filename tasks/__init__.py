"""The steps of a run: intake of a document, the five stages, and what every stage shares. Imports only ``blocks``.

Start at `contract` (what a stage is) and `stage_tasks` (the Prefect tasks; `stage_output` reuses or makes an
output). A stage is one module (`convert`, `optimize`, `chunk`, `facts`, `ingest`) with a package for its parts
(`conversion`, `optimization`, `chunking`, `extraction`); `text` is shared by the stages that read language. No stage
imports another. `worker` and all it imports run in worker processes, and import neither Prefect nor SQLAlchemy.
"""
