"""User functions: Python made into expressions, or called over batches and chunks."""
