"""MkDocs' hook for links that leave `docs/`: to code, to files of the project, to pictures beside results.

A browser of the repository follows them as they stand. The site takes pictures in. Other files it links to at the
repository's address, `extra.source` in `mkdocs.yml`, and where that is empty beside itself: built in a clone, `site/`
is where `docs/` is. Links to what is not there are left to MkDocs, which warns of them.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

LINK = re.compile(r"(?P<picture>!?)(?P<text>\[[^\]]*\])\((?P<target>\.\.?/[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
CLONE = "clone:"
"""In place of a scheme, so that MkDocs leaves the link alone until the page's HTML is there."""


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    docs, folder = Path(config.docs_dir), posixpath.dirname(page.file.src_uri)

    def elsewhere(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(docs.name, folder, link["target"]))
        if target.startswith((f"{docs.name}/", "..")) or not (docs.parent / target).exists():
            return link[0]
        if link["picture"]:
            if files.get_file_from_path(target) is None:
                files.append(File.generated(config, target, abs_src_path=str(docs.parent / target)))
            address = posixpath.relpath(target, folder or ".")
        else:
            source = config.extra["source"]
            address = f"{source.rstrip('/')}/{target}" if source else CLONE + target
        return f"{link['picture']}{link['text']}({address}{link['anchor'] or ''})"

    return LINK.sub(elsewhere, markdown)


def on_page_content(html: str, *, page: Any, config: Any, files: Any) -> str:
    clone = posixpath.relpath(".", posixpath.dirname(f"site/{page.file.dest_uri}"))
    return html.replace(f'href="{CLONE}', f'href="{clone}/')
