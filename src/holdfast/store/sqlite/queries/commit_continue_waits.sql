-- Who waits for runs that continue waits for their successors. Rows: as of commit_continue.
-- Guard: open, of the same tenant. Access: waits_child.
update waits set child_id = b.successor_id
from (
    with b as materialized (
        select w.run_id, w.key, v.value ->> 2 as successor_id
        from json_each(:rows) as v
        cross join runs as o on o.shard = 0 and o.id = v.value ->> 0
        cross join waits as w indexed by waits_child
            on w.shard = 0 and w.child_id = o.id and w.outcome is null and w.child_id is not null and w.tenant = o.tenant)
    select * from b
) as b
where waits.shard = 0 and waits.run_id = b.run_id and waits.key = b.key
