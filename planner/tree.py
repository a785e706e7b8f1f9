"""Frozen tree nodes: children first, shared unchanged, rewritten bottom-up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar, cast


class Node:
    """Base of plan nodes, which are frozen dataclasses.

    A field whose value is a node, or a tuple of nodes, holds children.
    """

    __slots__ = ()

    def children(self) -> tuple[Node, ...]:
        """Return the child nodes in field order."""
        found: list[Node] = []
        for field in fields(cast("Any", self)):
            value = getattr(self, field.name)
            if isinstance(value, Node):
                found.append(value)
            elif isinstance(value, tuple):
                found.extend(v for v in cast("tuple[object, ...]", value) if isinstance(v, Node))
        return tuple(found)

    def map_children(self, change: Callable[[Node], Node]) -> Node:
        """Return this node with each child changed: itself when no child did."""
        changed: dict[str, object] = {}
        for field in fields(cast("Any", self)):
            value = getattr(self, field.name)
            if isinstance(value, Node):
                new = change(value)
                if new is not value:
                    changed[field.name] = new
            elif isinstance(value, tuple):
                items = cast("tuple[object, ...]", value)
                new_items = tuple(change(v) if isinstance(v, Node) else v for v in items)
                if any(a is not b for a, b in zip(items, new_items, strict=True)):
                    changed[field.name] = new_items
        return replace(cast("Any", self), **changed) if changed else self

    def label(self) -> str:
        """Return one line that says what this node does, for plans people read."""
        return type(self).__name__


N = TypeVar("N", bound=Node)


def transform_up(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return the tree with `change` applied to every node, children first."""
    return change(node.map_children(lambda child: transform_up(child, change)))


def walk(node: Node) -> list[Node]:
    """Return the node and all below it, parents first."""
    found = [node]
    for child in node.children():
        found.extend(walk(child))
    return found


def render(node: Node) -> str:
    """Return the tree as indented lines of labels."""
    lines: list[str] = []

    def visit(at: Node, first: str, rest: str) -> None:
        lines.extend(
            (first if i == 0 else rest) + part for i, part in enumerate(at.label().split("\n"))
        )
        below = at.children()
        for i, child in enumerate(below):
            last = i == len(below) - 1
            visit(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))

    visit(node, "", "")
    return "\n".join(lines)
