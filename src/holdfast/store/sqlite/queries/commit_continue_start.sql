-- Record the successors of runs that continue, in the line; the trigger runs_started writes their first transition.
-- Rows: as of commit_continue, which went before. Guard: an id that exists already is an error.
-- Access: the primary key. Counts them.
insert into holdfast_runs (shard, id, tenant, workflow, version, definition_hash, code, queue, status, status_reason, input, key,
    priority, root_id, attempt, chain_id, link, continued_from_id, parent_id, parent_key, parent_policy, attributes,
    cancel_requested, cancel_compensates, pause_requested, created_ms, updated_ms, ready_ms, deadline_ms)
select 0, o.continued_as_id, o.tenant, o.workflow, o.version, o.definition_hash, o.code, o.queue, 'queued', 'continued',
    b.value ->> 3, o.key, o.priority, o.root_id, o.attempt, o.chain_id, o.link + 1, o.id, o.parent_id, o.parent_key,
    o.parent_policy, o.attributes, o.cancel_requested, o.cancel_compensates, o.pause_requested, :now_ms, :now_ms,
    :now_ms, o.deadline_ms
from json_each(:rows) as b
cross join holdfast_runs as o on o.shard = 0 and o.id = b.value ->> 0
