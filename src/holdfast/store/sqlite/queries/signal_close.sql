-- Close waits with the signals that match them. Rows: run id, wait key, tenant, signal id.
-- Guard: the wait open, the signal not consumed. Access: the primary keys. Counts the waits closed.
update holdfast_waits as waits set outcome = 'signalled', closed_ms = :now_ms, result = b.payload
from (
    with b as materialized (
        select v.value ->> 0 as run_id, v.value ->> 1 as key, s.payload
        from json_each(:rows) as v
        cross join holdfast_signals as s on s.shard = 0 and s.tenant = v.value ->> 2 and s.id = v.value ->> 3
            and s.consumed_ms is null)
    select * from b
) as b
where waits.shard = 0 and waits.run_id = b.run_id and waits.key = b.key and waits.outcome is null
