"""From SQL text to programs: expressions, blocks, and the choice against DuckDB."""
