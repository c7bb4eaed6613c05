-- Child waits for a run that has continued are for the last link of its chain. Rows: run id, key.
-- Guard: open, and the child is of the same tenant. Access: the primary keys, runs_chain. Counts the waits.
update holdfast_waits as waits set child_id = b.newest_id
from (
    with b as materialized (
        select w.run_id, w.key, (
            select n.id from holdfast_runs as n
            where n.shard = 0 and n.chain_id = c.chain_id and n.chain_id is not null order by n.link desc limit 1
        ) as newest_id
        from json_each(:rows) as v
        cross join holdfast_waits as w on w.shard = 0 and w.run_id = v.value ->> 0 and w.key = v.value ->> 1
            and w.kind = 'child' and w.outcome is null
        cross join holdfast_runs as c on c.shard = 0 and c.id = w.child_id and c.tenant = w.tenant
            and c.continued_as_id is not null)
    select * from b
) as b
where waits.shard = 0 and waits.run_id = b.run_id and waits.key = b.key
