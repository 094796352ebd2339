"""Tell the reader of docstrings what griffe misses in ours: examples, and comments on fields."""

import re

import griffe

LIST_OF_LISTS = re.compile(r"(\[\w+\])\[(\w+)\]")


class Examples(griffe.Extension):
    """Our section "Example" gets the name that griffe knows, and fields the words beside them.

    A shape such as [Y][X] isn't the reference that Markdown would read in it.
    """

    def on_object(self, *, obj, **_):
        """Change the docstring of everything that is read."""
        if obj.docstring is not None:
            text = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
            obj.docstring.value = LIST_OF_LISTS.sub(r"\1&#91;\2&#93;", text)

    def on_class_members(self, *, cls, **_):
        """List the fields of a class, `name: type  # what it is`, in its docstring."""
        if cls.docstring is None or "\nArgs:\n" in cls.docstring.value:
            return
        fields = {
            name: field.source.partition("  # ")[2]
            for name, field in cls.attributes.items()
            if "property" not in field.labels
        }
        lines = [f"    {name}: {comment}" for name, comment in fields.items() if comment]
        if lines:
            cls.docstring.value += "\n\nAttributes:\n" + "\n".join(lines)
