-- Record a run that begins with records of another; the trigger runs_started writes its first transition.
-- Guard: the source is this tenant's, follows the version whose keys are copied, and ended without success if it is retried; one run per root and attempt.
-- Its epoch is 1: under its first claim's epoch it has records already. Access: the primary key. Counts 1, or 0.
insert into holdfast_runs (shard, id, tenant, workflow, version, definition_hash, code, queue, status, status_reason, input, priority,
    root_id, retry_of_id, attempt, forked_from_id, attributes, epoch, created_ms, updated_ms, ready_ms, deadline_ms)
select 0, :id, s.tenant, s.workflow, s.version, s.definition_hash, s.code, s.queue, 'queued', iif(:retry, 'retried', 'forked'),
    coalesce(:input, s.input), s.priority, iif(:retry, s.root_id, :id), iif(:retry, s.id, null),
    iif(:retry, s.attempt + 1, 1), iif(:retry, null, s.id), s.attributes, 1, :now_ms, :now_ms, :now_ms,
    :now_ms + s.deadline_ms - s.created_ms
from holdfast_runs as s
where s.shard = 0 and s.id = :source_id and s.tenant = :tenant and s.definition_hash is :from_hash
    and (not :retry or s.status in ('failed', 'cancelled', 'stuck'))
