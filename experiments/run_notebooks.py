"""Run the notebooks of experiments/notebooks/ from top to bottom, or link them to the repository.

    python -m experiments.run_notebooks [--small] [NAME ...]
    python -m experiments.run_notebooks --link

Without --small each is written back with its outputs. With it, the cell tagged "parameters" is
followed by the small values that the cell's metadata holds, and nothing is written: same code,
seconds. Names, such as `losses`, choose; all are run when none is given.

--link runs nothing. It writes into each what depends on the repository's public address, the line
Repository of [project.urls] in pyproject.toml: a badge that opens the notebook on Colab, and where
its first code cell, tagged "install", has sicjax from. Without an address there is no badge, and
that is the clone around the notebook.
"""

import re
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from sicjax import command
from sicjax.errors import ConfigError

FOLDER = Path(__file__).parent / "notebooks"
PROJECT = Path(__file__).parent.parent / "pyproject.toml"
BADGE = re.compile(r"\n*\[!\[Open in Colab\].*")
SICJAX = re.compile(r'(?<="sicjax": ")[^"]*')


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


def public_address(project: Path = PROJECT) -> str:
    """Return the repository's public address, or nothing if pyproject.toml has none."""
    urls = tomllib.loads(project.read_text())["project"].get("urls", {})
    return urls.get("Repository", "").removesuffix("/").removesuffix(".git")


def link(notebook: nbformat.NotebookNode, name: str, address: str) -> None:
    """Write the address into a notebook; an empty one takes it out again."""
    title, *others = notebook.cells
    badge = ""
    if address.startswith("https://github.com/"):  # Colab opens those
        place = f"{address.removeprefix('https://')}/blob/main/experiments/notebooks/{name}"
        badge = (
            "\n\n[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
            f"(https://colab.research.google.com/{place.replace('github.com', 'github', 1)})"
        )
    title.source = BADGE.sub("", title.source) + badge
    (install,) = [cell for cell in others if "install" in cell.metadata.get("tags", ())]
    install.source = SICJAX.sub(f"git+{address}" if address else "../..", install.source)


def _tidy(outputs: Sequence[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Join the pieces that a stream came in, and keep the last line of progress only.

    Bars rewrite their line, each time after a carriage return, and leave nothing when they end.
    """
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == "stream" == last.output_type and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            text = re.sub(r"[^\n]*\r", "", output.text)
            output.text = re.sub(r"(update \d+/\d+ .*\n)(?=update )", "", text)
    return [o for o in joined if o.output_type != "stream" or o.text.strip()]


def main(arguments: Sequence[str]) -> None:
    """Run the named notebooks, or link them.

    Raises:
        ConfigError: an unknown flag or notebook.
    """
    parser = command.Parser(__doc__)
    parser.add_argument("--small", action="store_true", help="small values; write nothing")
    parser.add_argument("--link", action="store_true", help="write the public address, run nothing")
    parser.add_argument("names", metavar="NAME", nargs="*", help="notebooks (all)")
    options = parser.read(arguments)
    known = {path.stem: path for path in sorted(FOLDER.glob("*.ipynb"))}
    if options.link:
        for path in known.values():
            notebook = nbformat.read(path, as_version=4)
            link(notebook, path.name, public_address())
            nbformat.write(notebook, path)
        return
    names = options.names or list(known)
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"{unknown[0]}: no such notebook; there are {', '.join(known)}")
    for name in names:
        seconds = run_notebook(known[name], small=options.small)
        print(f"{name}: {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    command.run(main)
