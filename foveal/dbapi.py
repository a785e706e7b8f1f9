"""PEP 249 connection and cursor over a session."""
