-- Make runs findable by their attributes. Rows: run id, name, kind, text, number.
-- Access: the primary keys. Counts the rows written.
insert into holdfast_attributes (shard, run_id, name, tenant, kind, text, number, created_ms)
select 0, r.id, b.value ->> 1, r.tenant, b.value ->> 2, b.value ->> 3, b.value ->> 4, r.created_ms
from json_each(:rows) as b
cross join holdfast_runs as r on r.shard = 0 and r.id = b.value ->> 0
where true
on conflict (shard, run_id, name) do update set kind = excluded.kind, text = excluded.text, number = excluded.number
