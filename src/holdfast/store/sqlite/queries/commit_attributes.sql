-- Set search attributes in the runs' rows; null takes one away. Rows: run id, the lease's epoch, the attributes.
-- Guard: the run is held at that epoch. Access: the primary key. Counts the runs changed.
update holdfast_runs as runs set attributes = json_patch(runs.attributes, b.attributes)
from (
    with b as materialized (
        select value ->> 0 as run_id, value ->> 1 as epoch, value -> 2 as attributes
        from json_each(:rows))
    select * from b
) as b
where runs.shard = 0 and runs.id = b.run_id
    and runs.worker is not null and runs.status in ('running', 'compensating') and runs.epoch = b.epoch
