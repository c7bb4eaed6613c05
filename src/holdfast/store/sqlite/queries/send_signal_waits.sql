-- The oldest open wait for a signal of this name of every run of a tenant. Access: waits_signal, the primary key.
-- Returns: one JSON array of [run id, wait key, 1 if held, 1 if in the line], in the order of ids.
select json_group_array(json_array(p.run_id, p.key, p.held, p.in_line))
from (
    select w.run_id, w.key, r.worker is not null as held, r.ready_ms is not null as in_line,
        row_number() over (partition by w.run_id order by w.seq, w.key) as place
    from waits as w
    cross join runs as r on r.shard = 0 and r.id = w.run_id
    where w.shard = 0 and w.tenant = :tenant and w.signal = :name and w.kind = 'signal' and w.outcome is null and w.signal is not null
    order by w.run_id
) as p
where p.place = 1
