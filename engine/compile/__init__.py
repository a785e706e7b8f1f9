"""The compiled layer: programs of `planner.ir` run over columns in memory.

`data` is what goes in; `interpreter` is the reference, in NumPy; `llvm` makes machine code of a
program, `runtime` runs it over morsels on threads.
"""
