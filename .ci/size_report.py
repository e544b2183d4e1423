"""How long modules and functions are; fails where one is longer than the limits of the project."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

PACKAGES = ("blocks", "tasks", "flows", "waybill")
# A module of 400 lines is read in one sitting, a function of 60 fits on a screen; longer ones hide a second concept.
MODULE_LIMIT_LINES = 400
FUNCTION_LIMIT_LINES = 60
# Users copy the client into their own programs, so it stays one file.
COPIED_LIMIT_LINES = {"waybill/client.py": 500}
SHOWN = 5


def main() -> int:
    """Print the longest of both kinds; 1 when a limit is passed."""
    modules: list[tuple[int, str]] = []
    functions: list[tuple[int, str]] = []
    for path in sorted(file for package in PACKAGES for file in Path(package).rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        modules.append((len(source.splitlines()), str(path)))
        for node in ast.walk(ast.parse(source, filename=str(path))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                functions.append((node.end_lineno - node.lineno + 1, f"{path}:{node.lineno} {node.name}"))
    lines = sum(length for length, _ in modules)
    print(f"{len(modules)} modules, {lines} lines, {len(functions)} functions")
    too_long = _report("modules", modules, MODULE_LIMIT_LINES)
    return 1 if _report("functions", functions, FUNCTION_LIMIT_LINES) or too_long else 0


def _report(kind: str, found: list[tuple[int, str]], limit: int) -> bool:
    """Print the longest few and every one over *limit*; whether there is one."""
    ranked = sorted(found, reverse=True)
    over = [entry for entry in ranked if entry[0] > COPIED_LIMIT_LINES.get(entry[1], limit)]
    print(f"longest {kind} (limit {limit} lines):")
    for length, where in over or ranked[:SHOWN]:
        print(f"  {length:4}  {where}{'  TOO LONG' if over else ''}")
    return bool(over)


if __name__ == "__main__":
    sys.exit(main())
