-- What was kept for signal waits that were just opened. Rows: run id, wait key.
-- Guard: open. Access: the primary keys, signals_kept, signals_kept_for_all.
-- Returns: one JSON array of [run id, wait key, tenant, signal id, name, payload], in the order of arrival.
select json_group_array(json_array(p.run_id, p.key, p.tenant, p.id, p.name, p.payload))
from (
    select w.run_id, w.key, w.tenant, s.id, s.name, s.payload, s.rowid as number
    from json_each(:rows) as b
    cross join holdfast_waits as w on w.shard = 0 and w.run_id = b.value ->> 0 and w.key = b.value ->> 1 and w.outcome is null
    cross join holdfast_signals as s indexed by holdfast_signals_kept on s.shard = 0 and s.run_id = w.run_id and s.name = w.signal
        and s.consumed_ms is null and s.run_id is not null and s.tenant = w.tenant
        and (s.expires_ms is null or s.expires_ms > :now_ms)
    union all
    select w.run_id, w.key, w.tenant, s.id, s.name, s.payload, s.rowid
    from json_each(:rows) as b
    cross join holdfast_waits as w on w.shard = 0 and w.run_id = b.value ->> 0 and w.key = b.value ->> 1 and w.outcome is null
    cross join holdfast_signals as s indexed by holdfast_signals_kept_for_all on s.shard = 0 and s.tenant = w.tenant and s.name = w.signal
        and s.consumed_ms is null and s.run_id is null
        and (s.expires_ms > :now_ms or w.run_id > s.passed)
        and not exists (select 1 from holdfast_receipts as c where c.shard = 0 and c.signal_id = s.id and c.run_id = w.run_id)
    order by number
) as p
