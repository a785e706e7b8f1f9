"""Splitting scripts into statements and backslash commands."""

import pytest

from foveal.server.script import MetaCommand, ScriptReader, Statement, is_complete, read_script


def texts(script: str) -> list[str]:
    items = read_script(script.splitlines(keepends=True))
    return [item.text if isinstance(item, Statement) else "\\" + item.name for item in items]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("select 1; select 2", ["select 1", "select 2"]),
        ("select 1\n  , 2;\n", ["select 1\n  , 2"]),
        ("select ';', \"a;b\"; x", ["select ';', \"a;b\"", "x"]),
        ("select 'it''s;'; x", ["select 'it''s;'", "x"]),
        ("select 'two\nlines;'; x", ["select 'two\nlines;'", "x"]),
        ("select e'a\\';b'; x", ["select e'a\\';b'", "x"]),
        ("select E'a\\\\'; x", ["select E'a\\\\'", "x"]),
        ("select E'a\\\n;\\''; x", ["select E'a\\\n;\\''", "x"]),
        ("select name'\\'; x", ["select name'\\'", "x"]),
        ("select 1 -- no; end\n, 2; x", ["select 1 -- no; end\n, 2", "x"]),
        ("select /* a; /* b; */ c; */ 1; x", ["select /* a; /* b; */ c; */ 1", "x"]),
        ("select /* a;\n b; */ 1; x", ["select /* a;\n b; */ 1", "x"]),
        ("select $$a;b$$; x", ["select $$a;b$$", "x"]),
        ("select $T$a;$t$$T$; x", ["select $T$a;$t$$T$", "x"]),
        ("select $1,$2; select $a, $b$c;", ["select $1,$2", "select $a, $b$c;"]),
        (";; ;\n-- only a comment;\n/* ; */;", []),
        ("\\d t\nselect 1", ["\\d", "select 1"]),
        ("select '\n\\d\n'; x", ["select '\n\\d\n'", "x"]),
        ("select 'open; x", ["select 'open; x"]),
        ("", []),
    ],
)
def test_statements_end_at_their_semicolons(script: str, expected: list[str]) -> None:
    assert texts(script) == expected


def test_a_backslash_command_keeps_the_unfinished_statement() -> None:
    reader = ScriptReader()
    assert list(reader.feed("select 1\n")) == []
    assert list(reader.feed("  \\set seed 7 \n")) == [MetaCommand("set", "seed 7")]
    assert reader.unfinished
    assert list(reader.feed(", 2;\n")) == [Statement("select 1\n, 2")]
    assert not reader.unfinished


@pytest.mark.parametrize("text", ["", "select 1;", "select 1; -- done", "\\q", "-- remark", "a;b;"])
def test_complete(text: str) -> None:
    assert is_complete(text)


@pytest.mark.parametrize("text", ["select 1", "select ';", "select 1; select 2", "/* open", "$$;"])
def test_incomplete(text: str) -> None:
    assert not is_complete(text)
