-- Whether the database was ever migrated.
-- Returns: one row, the table's name or null.
select to_regclass('holdfast_version')::text
