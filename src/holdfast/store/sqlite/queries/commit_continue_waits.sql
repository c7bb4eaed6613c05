-- Who waits for runs that continue waits for their successors. Rows: as of commit_continue.
-- Guard: open, of the same tenant. Access: waits_child.
update holdfast_waits as waits set child_id = b.successor_id
from (
    with b as materialized (
        select w.run_id, w.key, v.value ->> 2 as successor_id
        from json_each(:rows) as v
        cross join holdfast_runs as o on o.shard = 0 and o.id = v.value ->> 0
        cross join holdfast_waits as w indexed by holdfast_waits_child
            on w.shard = 0 and w.child_id = o.id and w.outcome is null and w.child_id is not null and w.tenant = o.tenant)
    select * from b
) as b
where waits.shard = 0 and waits.run_id = b.run_id and waits.key = b.key
