"""The loop language: what a compiled pipeline computes, as immutable typed trees.

One parallel loop over the rows of a source, with linear builders (Weld's: Palkar et al., CIDR
2017), and SQL's NULLs, decimals, dates and dictionary strings in its types. `engine.compile` runs
it; here is only what it means: `types`, `typing` (the type of every operator), `nodes`
(expressions), `program` (builders, loops, programs), `facts` and `inference` (ranges and NULLs),
`verify`, `text` (its written form; read by `program_reading`) and `passes` (rewrites that keep its
meaning).
"""
