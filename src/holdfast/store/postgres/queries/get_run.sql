-- One run of a tenant.
-- Index: primary key. Returns: one row, or none if there is no such run or it is another tenant's.
select r.id, r.tenant, r.workflow, r.queue, r.status, r.status_reason, r.terminal_reason, r.input, r.result, r.error,
       r.key, r.priority, r.version, r.definition_hash, r.root_id, r.retry_of_id, r.attempt, r.forked_from_id, r.chain_id,
       r.link, r.continued_from_id, r.continued_as_id, r.parent_id, r.parent_key,
       r.parent_policy, r.attributes, r.worker, r.epoch, r.crashes, r.cancel_requested, r.cancel_compensates,
       r.pause_requested, r.created_ms, r.updated_ms, r.ready_ms, r.wake_ms, r.kept_wake_ms, r.aside_until_ms, r.deadline_ms,
       r.started_ms, r.finalized_ms
  from holdfast.runs r
 where r.shard = %(shard)s::smallint and r.id = %(id)s::uuid and r.tenant is not distinct from %(tenant)s
