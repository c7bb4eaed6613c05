-- Make successors findable as the runs are that they continue. Rows: as of commit_continue. Access: the primary key.
insert into holdfast_attributes (shard, run_id, name, tenant, kind, text, number, created_ms)
select 0, b.value ->> 2, a.name, a.tenant, a.kind, a.text, a.number, :now_ms
from json_each(:rows) as b
cross join holdfast_attributes as a on a.shard = 0 and a.run_id = b.value ->> 0
