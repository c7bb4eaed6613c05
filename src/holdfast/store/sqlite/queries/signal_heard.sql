-- The signals of a name that are under way, oldest first. Access: signals_under_way_by_name, the receipts' primary key.
-- Returns: one JSON array of [id, run id, payload, 1 if it is kept for all, how far it has come, receipts of these runs].
select json_group_array(json_array(p.id, p.run_id, p.payload, p.kept, p.passed, json(p.received)))
from (
    select s.id, s.run_id, s.payload, s.passed, coalesce(s.expires_ms > :now_ms, 0) as kept, (
        select json_group_array(c.run_id)
        from json_each(:run_ids) as b
        cross join holdfast_receipts as c on c.shard = 0 and c.signal_id = s.id and c.run_id = b.value) as received
    from holdfast_signals as s indexed by holdfast_signals_under_way_by_name
    where s.shard = 0 and s.passed is not null and s.tenant = :tenant and s.name = :name and s.consumed_ms is null
        and (s.run_id is null or s.expires_ms is null or s.expires_ms > :now_ms)
    order by s.rowid
) as p
