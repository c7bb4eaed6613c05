-- Make the copy of a run findable as the run is. Access: the primary key.
insert into holdfast_attributes (shard, run_id, name, tenant, kind, text, number, created_ms)
select 0, :id, a.name, a.tenant, a.kind, a.text, a.number, :now_ms
from holdfast_attributes as a where a.shard = 0 and a.run_id = :source_id
