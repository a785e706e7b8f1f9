"""Machine code for programs, by LLVM."""
