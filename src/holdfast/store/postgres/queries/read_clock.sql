-- The database's time, rounded down: nothing that is compared with it comes too early.
-- Returns: one row, the time.
select holdfast.now_ms(%(now_ms)s) as now_ms
