-- Let a wait consume the oldest kept signal of its name. Guard: not consumed yet, addressed to the run.
-- Access: signals_kept, then the rowid. Returns: the payload, or no row if there is none.
update signals set consumed_ms = :now_ms, wait_key = :key
where rowid in (
    select s.rowid from signals as s
    where s.shard = 0 and s.run_id = :run_id and s.name = :name and s.consumed_ms is null and s.run_id is not null
    order by s.sent_ms, s.rowid limit 1)
returning payload
