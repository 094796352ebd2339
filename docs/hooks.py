"""What the site has beyond Markdown: equations as MathML, tables of fields, results, notebooks.

All is made when the site is built; a page needs no script and nothing from elsewhere to show it.
"""

import base64
import html
import json
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File

from sicjax.config.fields import FIELDS
from sicjax.config.files import bundled_configs, describe_configs

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
NOTEBOOKS, RESULTS = EXPERIMENTS / "notebooks", EXPERIMENTS / "results"
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
COMMANDS = re.compile(r'(?<=<div class="language-)(?:bash|console) .*?</code>', re.DOTALL)
FLAG = re.compile(r"(<[^>]*>)|--?\w")
PICTURE = re.compile(r'<img [^>]*src="([^":]+)"[^>]*>(?!</a>)')
CELL, CODE = re.compile(r"<td.*?</td>", re.DOTALL), re.compile(r"(?<=<code>)[^<]*")
BADGE = re.compile(r"\[!\[([^]]*)\]\([^)]*\)\]\(([^)]*)\)")


def on_page_content(content, **_):
    """Equations become MathML, pictures links to themselves; no line ends inside a flag.

    Equations are as `arithmatex` marks them. A phone shows a wide picture too small to read. In
    the narrow columns of a table a name may break after _ . / = or a comma, and nowhere else.
    """

    def to_mathml(match):
        display = "block" if match[1] == "div" else "inline"
        return convert(html.unescape(match[2]), display=display)

    def keep_flags(match):
        return FLAG.sub(lambda at: at[1] or f'<span class="flag">{at[0]}</span>', match[0])

    def let_names_break(match):
        return CODE.sub(lambda code: re.sub(r"(?<=[_./=,])(?=\w)", "<wbr>", code[0]), match[0])

    content = CELL.sub(let_names_break, content)
    content = PICTURE.sub(r'<a class="picture" href="\1">\g<0></a>', content)
    return COMMANDS.sub(keep_flags, EQUATION.sub(to_mathml, content))


def on_page_markdown(markdown, **_):
    """Replace {{ fields }} and {{ configs }} by tables; results lie beside a page.

    A page names them as they lie in the repository, so that its links hold there too.
    """
    markdown = markdown.replace("](../experiments/results/", "](results/")
    return markdown.replace("{{ fields }}", _fields()).replace("{{ configs }}", _configs())


def _fields():
    rows = ["| field | default | meaning | source |", "|---|---|---|---|"]
    for name, field in FIELDS.items():
        right = f" ({field.rule.says})" if field.rule.says else ""
        default = json.dumps(field.default)
        rows.append(f"| `{name}` | `{default}` | {field.meaning}{right} | {field.source} |")
    return "\n".join(rows)


def _configs():
    lines = describe_configs().splitlines()
    rows = ["| config | what it is |", "|---|---|"]
    for name, line in zip(bundled_configs(), lines, strict=True):
        rows.append(f"| `{name}` | {line.strip().removeprefix(name).strip()} |")
    return "\n".join(rows)


def on_files(files, config):
    """Every notebook becomes a page, with its figures beside it; so does every table of results."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        page, figures = _notebook(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
        for name, picture in figures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    for path in sorted(RESULTS.glob("*.md")):
        text = path.read_text()
        page = text if text.startswith("# ") else f"# {path.stem}\n\n{text}"
        files.append(File.generated(config, f"results/{path.name}", content=page))
    for path in sorted(RESULTS.glob("*.png")):
        files.append(File.generated(config, f"results/{path.name}", abs_src_path=str(path)))
    return files


def _notebook(path):
    """Its Markdown, and its figures by name."""
    parts, figures = [], {}
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(BADGE.sub(r"[\1](\2)", source))  # a picture would come from elsewhere
            continue
        if "install" in cell["metadata"].get("tags", ()):
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}_{len(figures)}.png"
                figures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![figure of the cell above]({name})")
            elif text := "".join(output.get("text", data.get("text/plain", ""))):
                parts.append(f"```text\n{text.rstrip()}\n```")
    note = f"*This page is `experiments/notebooks/{path.name}` as it was run.*"
    return "\n\n".join([parts[0], note, *parts[1:]]) + "\n", figures
