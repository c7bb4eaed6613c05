-- Name in a run's last transition the wait that caused it. Rows: run id, wait key.
-- Guard: the run stands in the line: a paused or stuck one was not moved. Access: the primary keys.
update holdfast_transitions as transitions set key = b.key
from (
    with b as materialized (
        select r.id as run_id, r.transition_seq as seq, v.value ->> 1 as key
        from json_each(:rows) as v
        cross join holdfast_runs as r on r.shard = 0 and r.id = v.value ->> 0 and r.ready_ms is not null)
    select * from b
) as b
where transitions.shard = 0 and transitions.run_id = b.run_id and transitions.seq = b.seq
