"""Plain English: no words or phrases that make a text read as if translated."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "experiments" / "results").glob("*.md")),
]
CODE = [
    path
    for folder in ("sicjax", "configs", "experiments")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
TEMPLATES = sorted((ROOT / "sicjax" / "report" / "templates").glob("*.j2"))

# Each is a regular expression, looked for in lower case, with what to say instead.
TRANSLATED = {
    r"\bshall\b": "should, must",
    r"\banew\b": "again",
    r"\bbut for\b": "except for",
    r"(?:^|[.;:] )of which\b": "a sentence of its own",
    r"\bwhat is given\b": "the input",
    r"\bit is those that\b": "those",
    r"\bso many\b": "the number, or this many",
    r"\bsome such\b": "the number",
    r"\bnone of its\b": "no, not",
    r"\btakes? (?:it|them) for\b": "reads as, counts as",
    r"\bmends?\b|\bmended\b": "fix",
    r"\bheeded\b": "handled",
    r"\bhold[s]? against\b": "compare with",
    r"\bis told\b|\bare told\b": "is reported",
    r"\bone's own\b": "your own, the user's",
    r"\bby and by\b": "later",
    r"\bwords? of the trade\b": "technical terms",
    r"\bsee that\b": "check that",
    r"\bwithout a word\b": "silently",
    r"\b60(?:°|-degree) scores?\b": "grid score",
    r"\b90(?:°|-degree) scores?\b": "square score",
    r"\bplace explains\b": "position explains",
    r"\bheeds?\b": "handles, follows",
    r"\bwhat little\b": "the few",
    r"\bno other than\b": "the same",
    r"\bwhoever\b": "a caller that",
    r"\bwhatever (?:network|made)\b": "any",
    r"\bput(?:s|ting)? to(?:gether)? anew\b": "again",
    r"\bwhen all that\b": "after everything",
    r"\bthat is none\b": "not a ...",
    r"\bwhich is none\b": "not a ...",
    r"(?<!there )\bis no (?:array|config|file|grid|lattice|path|regular|run|torus)\b": "not a",
    r"\bone an? (?:cell|device|direction|line|network|row|spike|update)\b": "one per",
    r"\bhangs? on\b": "depends on",
    r"\bgo(?:es)? on (?:from|in|with)\b": "continues",
    r"\bwhatever (?:its|that|the)\b": "any",
    r"\bhowever (?:few|long|many|short|wide)\b": "any number, any length",
    r"\ball the same\b": "nevertheless",
    r"\bin the course of\b": "during",
    r"\bin one go\b": "whole, at once",
    r"\bsay (?:box_m|centre_m|units)=": "give",
    r"\btraining steps?\b|\bsteps of training\b|\bsteps/s\b": "updates: a step is one of a walk",
}
# Where such a word is meant as it stands: (file, expression).
MEANT: set[tuple[str, str]] = set()


def texts(path):
    """Every text of a page or module that a reader sees: prose, docstrings, comments, messages."""
    source = path.read_text()
    if path.suffix == ".j2":
        return re.sub(
            r"<(style|script)>.*?</\1>|<[^>]*>|{[{%].*?[}%]}", " ", source, flags=re.DOTALL
        )
    if path.suffix == ".md":
        return re.sub(r"```.*?```", "", source, flags=re.DOTALL)
    strings = [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    comments = re.findall(r"#\s*(.+)", source)
    return "\n".join([*strings, *comments])


@pytest.mark.parametrize(
    "path", [*PAGES, *CODE, *TEMPLATES], ids=lambda path: str(path.relative_to(ROOT))
)
def test_texts_are_plain_english(path):
    name, text = path.relative_to(ROOT).as_posix(), " ".join(texts(path).lower().split())
    found = {
        match[0]: instead
        for expression, instead in TRANSLATED.items()
        if (name, expression) not in MEANT
        for match in re.finditer(expression, text)
    }
    assert not found, f"{name}: {found}"
