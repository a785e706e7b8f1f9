"""SQL types: one table of DuckDB type name, Arrow type, PEP 249 type object and Postgres OID."""
