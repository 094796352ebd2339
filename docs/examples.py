"""Tell the reader of docstrings that a section "Example" holds examples."""

import griffe


class Examples(griffe.Extension):
    """Rename the section to the name that griffe knows, so that its code is shown as code."""

    def on_object(self, *, obj, **_):
        """Change the docstring of everything that is read."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
