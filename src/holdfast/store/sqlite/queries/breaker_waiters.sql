-- The next waits of a tenant's runs for a breaker. Access: waits_signal, the primary key of runs.
-- Returns: one JSON array of [run id, wait key, 1 if held, 1 if in the line], in the order of ids.
select json_group_array(json_array(p.run_id, p.key, p.held, p.in_line))
from (
    select w.run_id, w.key, r.worker is not null as held, r.ready_ms is not null as in_line
    from holdfast_waits as w indexed by holdfast_waits_signal
    cross join holdfast_runs as r on r.shard = 0 and r.id = w.run_id
    where w.shard = 0 and w.tenant = :tenant and w.signal = :name and w.run_id > :after
        and w.outcome is null and w.signal is not null and w.kind = 'breaker'
    order by w.run_id, w.seq limit :limit
) as p
