-- The revision of the tables. The table is Alembic's and lies where the connection's search_path leads.
-- Returns: one row, or none before the first migration.
select version_num from holdfast_version
