-- Accept signals: they are under way from now on. Rows: id, tenant, name, run id, keep_ms, payload.
-- Guard: a signal is accepted once. Access: the primary key. Counts those that were not seen before.
insert into holdfast_signals (shard, id, tenant, name, run_id, payload, sent_ms, expires_ms, passed)
select 0, b.value ->> 0, b.value ->> 1, b.value ->> 2, b.value ->> 3, b.value ->> 5, :now_ms,
    :now_ms + (b.value ->> 4), ''
from json_each(:rows) as b
where true
order by b.key
on conflict (shard, tenant, id) do nothing
