-- Signals to one run that were consumed. Rows: run id, wait key, tenant, signal id. Access: the primary key.
update holdfast_signals as signals set consumed_ms = :now_ms, wait_key = b.key
from (
    with b as materialized (
        select v.value ->> 0 as run_id, v.value ->> 1 as key, v.value ->> 2 as tenant, v.value ->> 3 as id
        from json_each(:rows) as v)
    select * from b
) as b
where signals.shard = 0 and signals.tenant = b.tenant and signals.id = b.id and signals.run_id = b.run_id
