-- Accept the signals that runs send to others; they are delivered later.
-- Rows: run id, the lease's epoch, signal id, name, receiver, keep_ms, payload.
-- Guard: the run is held at that epoch; a signal is accepted once. Access: the primary keys.
insert into holdfast_signals (shard, id, tenant, name, run_id, payload, sent_ms, expires_ms, passed)
select 0, b.value ->> 2, r.tenant, b.value ->> 3, b.value ->> 4, b.value ->> 6, :now_ms,
    :now_ms + (b.value ->> 5), ''
from json_each(:rows) as b
cross join holdfast_runs as r on r.shard = 0 and r.id = b.value ->> 0
    and r.worker is not null and r.status in ('running', 'compensating') and r.epoch = b.value ->> 1
where true
order by b.key
on conflict (shard, tenant, id) do nothing
