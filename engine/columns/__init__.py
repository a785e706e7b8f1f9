"""The column cache: tables and files as Arrow buffers, narrowed, kept while they stand."""
