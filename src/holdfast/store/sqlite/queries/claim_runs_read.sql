-- The runs just taken. Access: the primary key. Returns: one JSON array of arrays, in the order of ClaimedRow.
select json_group_array(json_array(r.id, r.tenant, r.workflow, r.queue, r.status, r.input, r.error, r.key, r.root_id,
    r.attempt, r.epoch, r.crashes, r.cancel_requested, r.created_ms, r.deadline_ms, r.priority,
    r.version, r.definition_hash, r.cancel_compensates, r.pause_requested, r.parent_id))
from json_each(:run_ids) as b
cross join holdfast_runs as r on r.shard = 0 and r.id = b.value
