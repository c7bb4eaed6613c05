-- Hand the signals to runs that continue, which nobody consumed, to their successors: under the same ids, in the same
-- order. Rows: as of commit_continue. Access: signals_kept, the primary key.
update holdfast_signals as signals set run_id = (select o.continued_as_id from holdfast_runs as o where o.shard = 0 and o.id = signals.run_id)
where rowid in (
    select s.rowid from json_each(:rows) as v
    cross join holdfast_signals as s indexed by holdfast_signals_kept
        on s.shard = 0 and s.run_id = v.value ->> 0 and s.consumed_ms is null and s.run_id is not null)
