"""Run the notebooks of experiments/notebooks/ from top to bottom.

    python -m experiments.run_notebooks [--small] [NAME ...]

Without --small each is written back with its outputs. With it, the cell tagged "parameters" is
followed by the small values that the cell's metadata holds, and nothing is written: same code,
seconds. Names, such as `losses`, choose; all are run when none is given.
"""

import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent / "notebooks"


def run_notebook(path: Path, *, small: bool) -> float:
    """Run one notebook in an empty folder; returns the seconds that it took.

    Raises:
        CellExecutionError: a cell fails.
        ValueError: no cell, or more than one, holds the parameters.
    """
    notebook = nbformat.read(path, as_version=4)
    places = [
        k for k, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())
    ]
    if len(places) != 1:
        raise ValueError(f"{path.name}: {len(places)} cells are tagged parameters; must be one")
    if small:
        values = notebook.cells[places[0]].metadata["small"]
        notebook.cells.insert(places[0] + 1, nbformat.v4.new_code_cell(values))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": folder}})
        client.extra_arguments = ["--IPKernelApp.log_level=40"]
        client.execute()
    if not small:
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # when each cell ran is no result
            if cell.cell_type == "code":
                cell.outputs = _tidy(cell.outputs)
        nbformat.write(notebook, path)
    return time.monotonic() - began


def _tidy(outputs: Sequence[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Join the pieces that a stream came in, and keep the last line of progress only."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == "stream" == last.output_type and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            output.text = re.sub(r"(step \d+/\d+ .*\n)(?=step )", "", output.text)
    return joined


def main(arguments: Sequence[str]) -> int:
    """Run the named notebooks; returns the exit code."""
    known = {path.stem: path for path in sorted(FOLDER.glob("*.ipynb"))}
    names = [argument for argument in arguments if argument != "--small"] or list(known)
    if unknown := [name for name in names if name not in known]:
        print(f"{unknown[0]}: no such notebook; there are {', '.join(known)}", file=sys.stderr)
        return 2
    for name in names:
        seconds = run_notebook(known[name], small="--small" in arguments)
        print(f"{name}: {seconds:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
