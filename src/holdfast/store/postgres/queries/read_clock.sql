-- The database's time, rounded down: nothing that is compared with it comes too early.
-- Returns: one row, the time.
select coalesce(%(now_ms)s::bigint, floor(extract(epoch from statement_timestamp()) * 1000)::bigint) as now_ms
