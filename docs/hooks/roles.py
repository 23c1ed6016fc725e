"""Sphinx roles in docstrings, ``:class:`~derefl.zoo.ModelEntry```, as links of the site."""

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|data|func|meth|attr|mod|exc):`~?([\w.]+)`")


def link(role: re.Match[str]) -> str:
    """Code, and a link where the site describes that object."""
    path = role[1]
    name = path.rpartition(".")[2]
    return f'<autoref optional identifier="{path}"><code>{name}</code></autoref>'


class Roles(Extension):
    """Rewrites every docstring."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = ROLE.sub(link, obj.docstring.value)
