-- Record a run that begins with records of another: outcomes, some with another result, and closed waits.
-- Guard: the source, locked before, is this tenant's, follows the version whose keys are copied, and ended without
-- success if it is retried; one run per root and attempt; no quota is exceeded.
-- Its epoch is 1: under its first claim's epoch it has records already.
-- Index: primary keys, runs_attempt. Returns: one row, how many runs were recorded, and the quota that it would exceed.
with source as materialized (
    select s.*, holdfast.now_ms(%(now_ms)s) as now_ms
      from holdfast.runs s
     where s.shard = %(shard)s::smallint and s.id = %(id)s::uuid and s.tenant is not distinct from %(tenant)s
       and s.definition_hash is not distinct from %(from_hash)s::text
       and (not %(retry)s::boolean or s.status in ('failed', 'cancelled', 'stuck'))
), excess as materialized (
    select holdfast.find_excess(
               t.tenant, %(shard)s::smallint, array[%(copy_id)s::uuid], %(bytes)s::bigint) as quota
      from source s
      join holdfast.tenants t on t.tenant = s.tenant
     where coalesce(t.queued_max, t.running_max, t.payload_bytes_max, t.stored_bytes_max) is not null
), inserted as (
    insert into holdfast.runs (
           shard, id, tenant, workflow, version, definition_hash, queue, status, status_reason, input, priority, root_id,
           retry_of_id, attempt, forked_from_id, attributes, epoch, transition_seq, created_ms, updated_ms, ready_ms,
           deadline_ms)
    select s.shard, %(copy_id)s::uuid, s.tenant, s.workflow, s.version, s.definition_hash, s.queue, 'queued',
           case when %(retry)s::boolean then 'retried' else 'forked' end, coalesce(%(input)s::json, s.input), s.priority,
           case when %(retry)s::boolean then s.root_id else %(copy_id)s::uuid end,
           case when %(retry)s::boolean then s.id end, case when %(retry)s::boolean then s.attempt + 1 else 1 end,
           case when not %(retry)s::boolean then s.id end, s.attributes, 1, 1, s.now_ms, s.now_ms, s.now_ms,
           s.now_ms + s.deadline_ms - s.created_ms
      from source s
     where not exists (select from excess e where e.quota is not null)
        on conflict (shard, id) do nothing
    returning shard, id, tenant, status_reason, attributes, created_ms
), outcomes as (
    insert into holdfast.journal (
           shard, run_id, key, seq, kind, name, status, result, error, fingerprint, input, attempts, epoch, started_ms,
           completed_ms, settled_by)
    select i.shard, i.id, j.key, j.seq, j.kind, j.name, j.status, coalesce(r.result, j.result), j.error,
           case when %(changed)s::boolean then '' else j.fingerprint end, j.input, j.attempts, 0, j.started_ms,
           j.completed_ms, case when r.key is null then j.settled_by else %(actor)s end
      from inserted i
     cross join unnest(%(journal)s::text[]) as k (key)
     cross join lateral (
           select o.* from holdfast.journal o
            where o.shard = %(shard)s::smallint and o.run_id = %(id)s::uuid and o.key = k.key
            limit 1) j
      left join json_to_recordset(%(replaced)s::json) as r (key text, result json) on r.key = j.key
), waited as (
    insert into holdfast.waits (
           shard, run_id, key, seq, kind, signal, child_id, due_ms, epoch, opened_ms, outcome, closed_ms, result, error,
           child_status, request, note, tenant, answer_id)
    select i.shard, i.id, w.key, w.seq, w.kind, w.signal, w.child_id, w.due_ms, 0, w.opened_ms, w.outcome, w.closed_ms,
           w.result, w.error, w.child_status, w.request, w.note, w.tenant, w.answer_id
      from inserted i
     cross join unnest(%(waits)s::text[]) as k (key)
     cross join lateral (
           select o.* from holdfast.waits o
            where o.shard = %(shard)s::smallint and o.run_id = %(id)s::uuid and o.key = k.key and o.outcome is not null
            limit 1) w
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, to_status, reason, epoch, at_ms, actor, note)
    select i.shard, i.id, 1, 'queued', i.status_reason, 1, i.created_ms, %(actor)s, %(note)s from inserted i
), named as (
    insert into holdfast.attributes (shard, run_id, name, tenant, kind, text, number, created_ms)
    select i.shard, i.id, a.name, i.tenant, a.kind, a.text, a.number, i.created_ms
      from inserted i cross join lateral holdfast.attribute_rows(i.attributes) a
     where i.attributes <> '{}'
)
select (select count(*) from inserted) as started, (select e.quota from excess e) as quota
