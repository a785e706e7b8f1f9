"""The lexical pass: tokens, places, values of strings and numbers, and statements of a script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import FovealError, ProgrammingError, Span
from foveal.planner.parse.lexer import fold, number_value, string_value, tokenize
from foveal.planner.parse.split import split


def kinds(text: str) -> list[tuple[str, str]]:
    return [(token.kind, token.text) for token in tokenize(text)]


def test_words_names_and_operators() -> None:
    assert kinds('SELECT a$1, "a ""b""", `c` FROM ünï.日本') == [
        ("word", "SELECT"), ("word", "a$1"), ("op", ","), ("quoted", '"a ""b"""'), ("op", ","),
        ("quoted", "`c`"), ("word", "FROM"), ("word", "ünï"), ("op", "."), ("word", "日本"),
    ]  # fmt: skip
    assert [token.name for token in tokenize('Abc "a ""b""" `c``d` 5')] == [
        "Abc",
        'a "b"',
        "c`d",
        "",
    ]


@pytest.mark.parametrize(
    "operator",
    ["::", "->", "->>", "=>", ":=", "<=", ">=", "<>", "!=", "==", "||", "**", "//", "&&", "@>",
     "<@", "<<", ">>", "~~", "!~~", "~~*", "^@", "+", "-", "%", "(", "]", "{", ";", "?" + "x"],
)  # fmt: skip
def test_operators_stay_whole(operator: str) -> None:
    assert tokenize(f"a {operator}b")[1].text == operator.removesuffix("x")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1_000", 1000), (".5", 0.5), ("1.", 1), ("1e-3", 0.001), ("5.e2", 500),
     ("0x1F", 31), ("0b11", 3), ("0o17", 15), ("0", 0)],
)  # fmt: skip
def test_numbers(text: str, value: float) -> None:
    (token,) = tokenize(text)
    assert token.kind == "number"
    assert number_value(token.text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("'it''s'", "it's"), (r"'\'", "\\"), (r"e'a\'b\n\t\\'", "a'b\n\t\\"),
     (r"E'\x41\101\u00e9'''", "AAé'"),
     (r"e'\U0001F600\q'", "😀q"), (r"e'\UFFFFFFFF'", "\ufffd"), ("$$a'b$$", "a'b"),
     ("$t$ $$ $t$", " $$ "),
     ("''", ""), ("x'ab'", "ab"), ("'a\nb'", "a\nb")],
)  # fmt: skip
def test_strings(text: str, value: str) -> None:
    (token,) = tokenize(text)
    assert token.kind == "string"
    assert string_value(token) == value


def test_parameters() -> None:
    assert kinds("?,?1,$1,$2,$name") == [
        ("param", "?"), ("op", ","), ("param", "?1"), ("op", ","), ("param", "$1"), ("op", ","),
        ("param", "$2"), ("op", ","), ("param", "$name"),
    ]  # fmt: skip


def test_comments_and_blanks_are_left_out() -> None:
    assert kinds("a -- b\n/* c /* d */ e */ f\u00a0\u2003\ufeffg --") == [
        ("word", "a"), ("word", "f"), ("word", "g"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "span"),
    [("a 'b", Span(2, 3)), ("e'b\\'", Span(0, 2)), ('a "b""', Span(2, 3)), ("`b", Span(0, 1)),
     ("a /* /* */", Span(2, 4)), ("$$ a", Span(0, 2)), ("$t$ $$", Span(0, 3))],
)  # fmt: skip
def test_what_does_not_end(text: str, span: Span) -> None:
    with pytest.raises(ProgrammingError, match="unterminated") as caught:
        tokenize(text)
    assert caught.value.sqlstate == "42601"
    assert caught.value.span == span
    assert caught.value.hint


def test_split() -> None:
    text = "SELECT ';';; -- none;\n ;(a; b) ; c]; $$;$$ /* ; */"
    assert [text[s.start : s.end] for s in split(text)] == [
        "SELECT ';'", "(a; b)", "c]", "$$;$$",
    ]  # fmt: skip
    assert split(" -- nothing\n") == []


def test_fold() -> None:
    assert fold("StreeT") == "street"


@given(
    st.text(alphabet=st.sampled_from("ab1 .'\"$?-*/;,()[]{}\\\n\r\u00a0é→=<>:%_xeE"), max_size=40)
)
def test_tokens_cover_the_text(text: str) -> None:
    try:
        tokens = tokenize(text)
    except FovealError:
        return
    end = 0
    for token in tokens:
        assert token.start >= end
        assert token.text == text[token.start : token.end]
        between = text[end : token.start]
        assert not between.strip() or "--" in between or "/*" in between
        end = token.end
