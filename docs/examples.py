"""Tell the reader of docstrings what griffe misses in ours: examples, and comments on fields."""

import griffe


class Examples(griffe.Extension):
    """Our section "Example" gets the name that griffe knows, and fields the words beside them."""

    def on_object(self, *, obj, **_):
        """Change the docstring of everything that is read."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")

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
