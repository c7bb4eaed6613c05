-- Record new runs; the children of a commit carry the lease of their parent and are refused with it.
-- Guard: a run whose id exists stays as it is; a child's parent is held at the lease's epoch; no quota is exceeded, for
-- those who are nobody's child.
-- Index: primary keys. In the order of the ids, so that two starts of the same runs cannot block each other for good.
-- Returns: one row per run that was recorded: its id, and whether it can be claimed now; or the tenant whose quota
-- would be exceeded, and that quota.
with given as materialized (
    select g.*, holdfast.now_ms(%(now_ms)s) as now_ms,
           holdfast.now_rounded_up_ms(%(now_ms)s) + g.timeout_ms as deadline_ms
      from json_to_recordset(%(runs)s::json) as g (
           id uuid, tenant text, workflow text, version integer, definition_hash text, input json, queue text, key text, priority smallint, delay_ms bigint,
           timeout_ms bigint, attributes jsonb, root_id uuid, parent_id uuid, parent_key text,
           parent_policy text, lease_id uuid, lease_epoch bigint, lease_running boolean)
), excess as materialized (
    select t.tenant, holdfast.find_excess(t.tenant, %(shard)s::smallint, a.ids, a.bytes) as quota
      from (select g.tenant, array_agg(g.id) as ids, max(octet_length(g.input::text)) as bytes
              from given g
             where g.lease_id is null
             group by g.tenant) a
      join holdfast.tenants t on t.tenant = a.tenant
     where coalesce(t.queued_max, t.running_max, t.payload_bytes_max, t.stored_bytes_max) is not null
), inserted as (
    insert into holdfast.runs (
           shard, id, tenant, workflow, version, definition_hash, queue, status, status_reason, input, key, priority, root_id, parent_id,
           parent_key, parent_policy, attributes, transition_seq, created_ms, updated_ms, ready_ms, wake_ms, deadline_ms)
    select %(shard)s::smallint, g.id, g.tenant, g.workflow, g.version, g.definition_hash, g.queue, 'queued',
           case when g.delay_ms > 0 then 'delayed' else 'started' end, g.input, g.key, g.priority,
           coalesce(g.root_id, g.id), g.parent_id, g.parent_key, g.parent_policy, g.attributes, 1, g.now_ms, g.now_ms,
           case when g.delay_ms > 0 then null else g.now_ms end,
           case when g.delay_ms > 0 then least(holdfast.now_rounded_up_ms(%(now_ms)s) + g.delay_ms, g.deadline_ms) end,
           g.deadline_ms
      from given g
     where not exists (select from excess e where e.quota is not null)
       and (g.lease_id is null
        or exists (select from holdfast.runs p
                    where p.shard = %(shard)s::smallint and p.id = g.lease_id and p.epoch = g.lease_epoch
                      and coalesce(p.worker, '') <> ''
                      and (p.status = 'running' or (p.status = 'compensating' and not g.lease_running))
                   offset 0))
     order by g.id
        on conflict (shard, id) do nothing
    returning shard, id, tenant, status_reason, attributes, created_ms, ready_ms
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, to_status, reason, epoch, at_ms)
    select i.shard, i.id, 1, 'queued', i.status_reason, 0, i.created_ms from inserted i
), named as (
    insert into holdfast.attributes (shard, run_id, name, tenant, kind, text, number, created_ms)
    select i.shard, i.id, a.name, i.tenant, a.kind, a.text, a.number, i.created_ms
      from inserted i cross join lateral holdfast.attribute_rows(i.attributes) a
     where i.attributes <> '{}'
)
select i.id, i.ready_ms is not null as ready, null::text as tenant, null::text as quota from inserted i
 union all
select null, false, e.tenant, e.quota from excess e where e.quota is not null
