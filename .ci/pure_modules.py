"""Modules whose docstring calls them pure import no framework, no driver and no file system, directly or not."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import grimp

PACKAGES = ("blocks", "tasks", "flows", "waybill")
IMPURE = ("prefect", "fastapi", "starlette", "uvicorn", "psycopg", "psycopg_pool", "sqlalchemy", "fsspec", "s3fs")


def main() -> int:
    """Print each chain of imports from a pure module to an impure package; 1 when there is one."""
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True, exclude_type_checking_imports=True)
    pure = [module for module in sorted(graph.modules) if _says_pure(module)]
    packages = [name for name in IMPURE if name in graph.modules]
    chains = [
        chain
        for module in pure
        for package in packages
        if (chain := graph.find_shortest_chain(importer=module, imported=package)) is not None
    ]
    for chain in chains:
        print(f"{chain[0]} says that it is pure: {' -> '.join(chain)}")
    print(f"{len(pure)} modules say that they are pure, {len({chain[0] for chain in chains})} are not")
    return 1 if chains or not pure else 0


def _says_pure(module: str) -> bool:
    """Return whether the first line of the module's docstring ends with "; pure."."""
    base = Path(*module.split("."))
    path = base.with_suffix(".py") if base.with_suffix(".py").exists() else base / "__init__.py"
    if not path.exists():
        return False
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n\n")[0].replace("\n", " ").endswith("; pure.")


if __name__ == "__main__":
    sys.exit(main())
