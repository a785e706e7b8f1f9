"""Text → statements: `parser.parse` for one statement, `split.split` for a script.

In the order that a text passes: `lexer` (tokens), `own` and `wrappers` (which statement it is),
`mentions` and `openers` (is it foveal's at all), `blocks` (the SELECT blocks and where our clauses
stand), `clauses` with `grammar` and clauses.lark (what they say), `tree` (the rest, by sqlglot).
`statement` holds the nodes that come out. Nothing here knows what a name means; that is `bind`'s.
"""
