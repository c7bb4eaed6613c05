-- The open waits of these runs for signals of a name. Access: waits_signal, the primary key.
-- Returns: one JSON array of [run id, wait key, request, 1 if held, 1 if in the line], oldest first within a run.
select json_group_array(json_array(p.run_id, p.key, p.request, p.held, p.in_line))
from (
    select w.run_id, w.key, w.request, r.worker is not null as held, r.ready_ms is not null as in_line
    from json_each(:run_ids) as b
    cross join holdfast_waits as w indexed by holdfast_waits_signal on w.shard = 0 and w.tenant = :tenant and w.signal = :name
        and w.run_id = b.value and w.outcome is null and w.signal is not null
    cross join holdfast_runs as r on r.shard = 0 and r.id = w.run_id
    where w.kind = 'signal'
    order by w.run_id, w.seq, w.key
) as p
