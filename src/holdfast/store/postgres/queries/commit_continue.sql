-- End runs that continue as others and start these: their rows, first transitions, attributes and kept signals, and
-- what they are taken to have heard already of the signals for all. Nobody is told of such an end.
-- A statement of its own after the one that locked the runs: every signal that was kept before is seen here, and who
-- sends one later waits for the lock and finds the successor.
-- Guard: held at the lease's epoch, running; a successor whose id exists already is an error.
-- Index: primary keys, waits_open, signals_kept, signals_kept_for_all. Returns: one row, how many can be claimed at once.
with ending as materialized (
    select o.*, l.successor_id, l.input, holdfast.now_ms(%(now_ms)s) as now_ms
      from json_to_recordset(%(continues)s::json) as l (id uuid, epoch bigint, successor_id uuid, input json)
     cross join lateral (
           select r.shard, r.id, r.epoch, r.status, r.worker
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch
              and coalesce(r.worker, '') <> '' and r.status = 'running'
            limit 1) o
), moved as (
    update holdfast.runs r
       set status = 'completed', status_reason = 'continued', terminal_reason = 'continued',
           continued_as_id = e.successor_id, chain_id = coalesce(r.chain_id, r.id), link = coalesce(r.link, 1),
           worker = null, ready_ms = null, wake_ms = null, crashes = 0, suspect = false, updated_ms = e.now_ms,
           finalized_ms = e.now_ms, transition_seq = r.transition_seq + 1
      from (select m.* from (select o.* from ending o limit (select 1000000000)) m limit (select 1000000000)) e
     where r.shard = e.shard and r.id = e.id and r.epoch = e.epoch and r.status = e.status
    returning r.*, e.worker as holder, e.input as next_input
), next as (
    select m.*, m.pause_requested and not m.cancel_requested as pausing from moved m
), started as (
    insert into holdfast.runs (
           shard, id, tenant, workflow, version, definition_hash, queue, status, status_reason, input, key, priority,
           root_id, attempt, chain_id, link, continued_from_id, parent_id, parent_key, parent_policy, attributes,
           cancel_requested, cancel_compensates, pause_requested, transition_seq, created_ms, updated_ms, ready_ms,
           deadline_ms)
    select n.shard, n.continued_as_id, n.tenant, n.workflow, n.version, n.definition_hash, n.queue,
           case when n.pausing then 'paused' else 'queued' end, case when n.pausing then 'paused' else 'continued' end,
           n.next_input, n.key, n.priority, n.root_id, n.attempt, n.chain_id, n.link + 1, n.id, n.parent_id,
           n.parent_key, n.parent_policy, n.attributes, n.cancel_requested, n.cancel_compensates,
           n.pause_requested and not n.pausing, case when n.pausing then 2 else 1 end, n.finalized_ms, n.finalized_ms,
           case when not n.pausing then n.finalized_ms end, n.deadline_ms
      from next n
     order by n.continued_as_id
    returning ready_ms
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    select n.shard, n.id, n.transition_seq, 'running', 'completed', 'continued', n.holder, n.epoch, n.finalized_ms
      from next n
    union all
    select n.shard, n.continued_as_id, 1, null, 'queued', 'continued', null, 0, n.finalized_ms from next n
    union all
    select n.shard, n.continued_as_id, 2, 'queued', 'paused', 'paused', null, 0, n.finalized_ms
      from next n
     where n.pausing
), named as (
    insert into holdfast.attributes (shard, run_id, name, tenant, kind, text, number, created_ms)
    select n.shard, n.continued_as_id, a.name, n.tenant, a.kind, a.text, a.number, n.finalized_ms
      from next n cross join lateral holdfast.attribute_rows(n.attributes) a
     where n.attributes <> '{}'
), closed as (
    update holdfast.waits w
       set outcome = 'cancelled', closed_ms = m.finalized_ms
      from moved m
     where w.shard = m.shard and w.run_id = m.id and coalesce(w.outcome, '') = ''
), kept as materialized (
    select k.shard, k.tenant, k.id, m.continued_as_id
      from moved m
     cross join lateral (
           select s.shard, s.tenant, s.id
             from holdfast.signals s
            where s.shard = %(shard)s::smallint and s.run_id = m.id and s.consumed_ms is null
           offset 0) k
), handed as (
    update holdfast.signals s
       set run_id = k.continued_as_id
      from (select m.* from (select o.* from kept o limit (select 1000000000)) m limit (select 1000000000)) k
     where s.shard = k.shard and s.tenant = k.tenant and s.id = k.id and s.consumed_ms is null
), received as (
    insert into holdfast.receipts (shard, signal_id, run_id, tenant, wait_key, consumed_ms)
    select c.shard, c.signal_id, m.continued_as_id, c.tenant, c.wait_key, c.consumed_ms
      from moved m
     cross join lateral (
           select s.id
             from holdfast.signals s
            where s.shard = %(shard)s::smallint and s.tenant = m.tenant and s.consumed_ms is null and s.run_id is null
           offset 0) k
     cross join lateral (
           select f.*
             from holdfast.receipts f
            where f.shard = %(shard)s::smallint and f.signal_id = k.id and f.run_id = m.id
            limit 1) c
)
select count(s.ready_ms) as ready from started s
