"""Programs on a GPU: the row's code of `engine.compile.llvm` as PTX, launched through libcuda."""
