-- What runs that continue have consumed of the signals for all, their successors have consumed too. Rows: as of
-- commit_continue. Access: signals_kept_for_all, primary keys.
insert into holdfast_receipts (shard, signal_id, run_id, tenant, wait_key, consumed_ms)
select 0, s.id, o.continued_as_id, c.tenant, c.wait_key, c.consumed_ms
from json_each(:rows) as b
cross join holdfast_runs as o on o.shard = 0 and o.id = b.value ->> 0
cross join holdfast_signals as s indexed by holdfast_signals_kept_for_all
    on s.shard = 0 and s.tenant = o.tenant and s.consumed_ms is null and s.run_id is null
cross join holdfast_receipts as c on c.shard = 0 and c.signal_id = s.id and c.run_id = o.id
