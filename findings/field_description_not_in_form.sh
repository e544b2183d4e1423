#!/usr/bin/env bash
# Prefect 3.9.1: of a parameter's `Field`, bounds and examples come into the schema of a flow, and the description does not.
#
# Behaviour: for `size: Annotated[int, Field(ge=1, examples=[5], description="How many.")]` the schema of the flow's
#   parameters, which the form of a run is drawn from, has the minimum and the examples, and no description. It has one
#   only where the docstring of the flow has the parameter in a section "Args:".
# Why one would expect otherwise: pydantic puts the description into the schema of a model with the same annotation, next
#   to the minimum. Fields of a pydantic model that is itself a parameter keep theirs in Prefect as well.
# Consequence: describe parameters in the docstring.
#
# Output seen:
#   annotation:           minimum 1, examples [5], description None
#   docstring:            minimum None, examples None, description How many.
#   field of a model:     minimum 1, examples [5], description How many.
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check prefect==3.9.1
export PREFECT_HOME="$work/home" DO_NOT_TRACK=1

echo "Prefect 3.9.1: the schema of a flow's parameter that is described in three ways."
echo "Expected by most readers: each way gives a description."
echo
venv/bin/python - <<'PY'
import sys
from typing import Annotated

from pydantic import BaseModel, Field

from prefect import flow


@flow
def annotated(size: Annotated[int, Field(ge=1, examples=[5], description="How many.")] = 3):
    pass


@flow
def documented(size: int = 3):
    """Make some.

    Args:
        size: How many.
    """


class Options(BaseModel):
    size: int = Field(3, ge=1, examples=[5], description="How many.")


@flow
def modelled(options: Options):
    pass


def shown(field):
    return [field.get(name) for name in ("minimum", "examples", "description")]


seen = {
    "annotation": shown(annotated.parameters.properties["size"]),
    "docstring": shown(documented.parameters.properties["size"]),
    "field of a model": shown(modelled.parameters.definitions["Options"]["properties"]["size"]),
}
for name, (minimum, examples, description) in seen.items():
    print(f"{name + ':':<21} minimum {minimum}, examples {examples}, description {description}")
if seen != {
    "annotation": [1, [5], None],
    "docstring": [None, None, "How many."],
    "field of a model": [1, [5], "How many."],
}:
    sys.exit("NOT AS DESCRIBED")
print("As described: the annotation of the parameter loses its description.")
PY
