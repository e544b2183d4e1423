"""Documents through five steps that return recorded outputs, as other libraries run them; run by `benchmarks.scale`:
scale_peers.py PEER DOCUMENTS RECORDINGS OUTPUT

DOCUMENTS is a folder, RECORDINGS has the output of each stage for each document. Each step reads its recorded output,
as Waybill's stages do there; the last one's is written to the folder OUTPUT. What a library keeps besides is
its own: none of them keeps the outputs of the other steps, hashes, encrypts or syncs. Each is used as its documentation
shows. Prints the processor time of this process as JSON. Imports nothing of this project.
"""

# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedBaseClass=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
from __future__ import annotations

import hashlib
import json
import os
import pickle
import resource
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

STAGES = ("markdown-conversion", "markdown-optimizer", "chunker", "fact-generator", "ingestor")


def step(stage: str, recordings: str, digest: str) -> str:
    """Return *digest* once the recorded output of *stage* has been read."""
    pickle.loads((Path(recordings) / f"{stage}-{digest}.pickle").read_bytes())  # noqa: S301 (of this benchmark)
    return digest


def last(recordings: str, output: str, digest: str) -> str:
    """Write the output of the last stage."""
    content, *_ = pickle.loads((Path(recordings) / f"{STAGES[-1]}-{digest}.pickle").read_bytes())  # noqa: S301
    (Path(output) / digest).write_bytes(content)
    return digest


def plain_loop(digests: Sequence[str], recordings: str, output: str) -> None:
    for digest in digests:
        for stage in STAGES[:-1]:
            step(stage, recordings, digest)
        last(recordings, output, digest)


def llama_index(digests: Sequence[str], recordings: str, output: str) -> None:
    from llama_index.core import Document
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.schema import BaseNode, TransformComponent

    class Step(TransformComponent):
        stage: str

        def __call__(self, nodes: Sequence[BaseNode], **kwargs: object) -> Sequence[BaseNode]:
            for node in nodes:
                if self.stage == STAGES[-1]:
                    last(recordings, output, node.get_content())
                else:
                    step(self.stage, recordings, node.get_content())
            return nodes

    for digest in digests:
        IngestionPipeline(transformations=[Step(stage=stage) for stage in STAGES]).run(
            documents=[Document(text=digest, id_=digest)]
        )


def haystack(digests: Sequence[str], recordings: str, output: str) -> None:
    from haystack import Pipeline, component

    @component
    class Step:
        def __init__(self, stage: str) -> None:
            self.stage = stage

        @component.output_types(digest=str)
        def run(self, digest: str) -> dict:
            if self.stage == STAGES[-1]:
                return {"digest": last(recordings, output, digest)}
            return {"digest": step(self.stage, recordings, digest)}

    pipeline = Pipeline()
    for stage in STAGES:
        pipeline.add_component(stage, Step(stage))
    for before, after in pairwise(STAGES):
        pipeline.connect(f"{before}.digest", f"{after}.digest")
    for digest in digests:
        pipeline.run({STAGES[0]: {"digest": digest}})


def dask_bag(digests: Sequence[str], recordings: str, output: str) -> None:
    import dask
    import dask.bag as bag

    with dask.config.set(scheduler="processes", num_workers=2):
        steps = bag.from_sequence(digests, npartitions=max(2, len(digests) // 50))
        for stage in STAGES[:-1]:
            steps = steps.map(partial(step, stage, recordings))
        steps.map(partial(last, recordings, output)).compute()


def dagster(digests: Sequence[str], recordings: str, output: str) -> None:
    """A job per document, whose runs and events an instance keeps in SQLite, as `dagster dev` does."""
    from dagster import DagsterInstance, In, job, op

    def make(stage: str) -> Any:
        @op(name=stage.replace("-", "_"), ins={"digest": In(str)})
        def run(digest: str) -> str:
            return last(recordings, output, digest) if stage == STAGES[-1] else step(stage, recordings, digest)

        return run

    @op(config_schema=str)
    def source(context) -> str:  # type: ignore[no-untyped-def]  # it refuses most types
        return str(context.op_config)

    steps = [make(stage) for stage in STAGES]

    def document() -> None:
        value: Any = source()  # pyright: ignore[reportCallIssue]: a call of it makes a node of the graph
        for one in steps:
            value = one(value)

    document_job: Any = job(document)
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
    with DagsterInstance.local_temp(output) as instance:
        for digest in digests:
            config = {"ops": {"source": {"config": digest}}}
            done = document_job.execute_in_process(run_config=config, instance=instance)
            assert done.success


def prefect(digests: Sequence[str], recordings: str, output: str) -> None:
    """A flow per document with a task per stage, on the server that the environment names."""
    from prefect import flow, task

    @task
    def one(stage: str, digest: str) -> str:
        return last(recordings, output, digest) if stage == STAGES[-1] else step(stage, recordings, digest)

    @flow
    def document(digest: str) -> None:
        for stage in STAGES:
            digest = one(stage, digest)

    for digest in digests:
        document(digest)


PEERS: dict[str, Callable[[Sequence[str], str, str], None]] = {
    "plain loop": plain_loop,
    "llama-index": llama_index,
    "haystack": haystack,
    "dask": dask_bag,
    "dagster": dagster,
    "prefect": prefect,
}


def main() -> int:
    peer, documents, recordings, output = sys.argv[1:]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(documents).iterdir())]
    Path(output).mkdir(parents=True, exist_ok=True)
    PEERS[peer](digests, recordings, output)
    missing = [digest for digest in digests if not any(Path(output).rglob(digest))]
    if missing:
        raise SystemExit(f"{peer} has not written {len(missing)} outputs")
    spent = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"parent": spent.ru_utime + spent.ru_stime, "run_id": None}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
