-- The oldest open wait of a run for a signal of this name. Access: waits_signal.
-- Returns: one JSON array of [run id, wait key, 1 if held, 1 if in the line], with one element or none.
select json_group_array(json_array(p.run_id, p.key, p.held, p.in_line))
from (
    select w.run_id, w.key, r.worker is not null as held, r.ready_ms is not null as in_line
    from waits as w
    cross join runs as r on r.shard = 0 and r.id = w.run_id
    where w.shard = 0 and w.tenant = :tenant and w.signal = :name and w.run_id = :run_id and w.kind = 'signal'
        and w.outcome is null and w.signal is not null
    order by w.seq, w.key limit 1
) as p
