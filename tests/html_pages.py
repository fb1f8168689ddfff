"""HTML pages, taken apart."""

from __future__ import annotations

from html.parser import HTMLParser

INLINE = {"b", "small", "span", "code", "a", "i"}
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """What is on a page: its elements in order, each with its attributes and its own text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._texts: list[str] = []
        self._block: list[int] = []
        self._open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(text)
        self.close()
        assert self._open == [], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = (tag, {k: v or "" for k, v in attrs}, [])
        self.elements.append(found)
        if tag not in VOID:
            self._open.append(found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        for _, _, texts in self._open:
            texts.append(data)
        if not {"style", "svg"} & {name for name, _, _ in self._open}:
            block = [id(each) for each in self._open if each[0] not in INLINE][-1:]
            if block == self._block and self._texts:
                self._texts[-1] += data
            else:
                self._texts.append(data)
            self._block = block

    def text(self) -> str:
        """The visible text, an element with text of its own a line."""
        lines: list[str] = []
        for text in self._texts:
            lines += [" ".join(text.split())] if text.strip() else []
        return "\n".join(lines) + "\n"

    def all(self, tag: str) -> list[tuple[dict[str, str], str]]:
        """(attributes, text) of every such element."""
        return [
            (attributes, " ".join("".join(texts).split()))
            for name, attributes, texts in self.elements
            if name == tag
        ]
