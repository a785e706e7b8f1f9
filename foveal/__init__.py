"""foveal: SQL over tables and video. `foveal.connect()` opens a database (PEP 249)."""
