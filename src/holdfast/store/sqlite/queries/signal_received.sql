-- Signals for all that runs have consumed. Rows: run id, wait key, tenant, signal id. Access: the primary keys.
insert into holdfast_receipts (shard, signal_id, run_id, tenant, wait_key, consumed_ms)
select 0, s.id, v.value ->> 0, s.tenant, v.value ->> 1, :now_ms
from json_each(:rows) as v
cross join holdfast_signals as s on s.shard = 0 and s.tenant = v.value ->> 2 and s.id = v.value ->> 3 and s.run_id is null
