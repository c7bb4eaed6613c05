-- commit_entries and commit_finish in one, for runs that end and record nothing but journal entries with it. Each
-- statement less is a tenth of a millisecond less until the result is known.
-- Guard: each run is held at its lease's epoch, in a status from which its move is legal. Locks the run's row, in the
-- order of ids, until the commit; what is written here needs nothing that others committed before that lock.
-- Index: primary keys, waits_open. Returns: as commit_entries.
with leases as materialized (
    select l.* from json_to_recordset(%(leases)s::json) as l (id uuid, epoch bigint, running boolean) order by l.id
), owned as materialized (
    select o.*
      from leases l
     cross join lateral (
           select r.shard, r.id, r.epoch, r.status, r.worker, r.cancel_requested
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch
              and coalesce(r.worker, '') <> ''
              and (r.status = 'running' or (r.status = 'compensating' and not l.running))
              for no key update of r) o
), recorded as (
    insert into holdfast.journal (
           shard, run_id, key, seq, kind, name, status, result, error, fingerprint, input, attempts, epoch, started_ms,
           completed_ms)
    select %(shard)s::smallint, e.run_id, e.key, e.seq, e.kind, e.name, e.status, e.result, e.error, e.fingerprint,
           e.input, e.attempts, e.epoch, e.started_ms, e.completed_ms
      from json_to_recordset(%(entries)s::json) as e (
           run_id uuid, key text, seq bigint, kind text, name text, status text, result json, error json,
           fingerprint text, input json, attempts integer, epoch bigint, started_ms bigint, completed_ms bigint)
      join owned o on o.id = e.run_id
), ending as materialized (
    select o.shard, o.id, o.epoch, o.status, o.worker, l.status as to_status, l.reason, l.result, l.error,
           l.error_type, l.error_message, l.error_fingerprint,
           case when l.status = 'stuck' then l.reason else l.status end as word
      from json_to_recordset(%(finishes)s::json) as l (
           id uuid, status text, reason text, result json, error json, error_type text, error_message text,
           error_fingerprint text)
      join owned o on o.id = l.id
), moved as (
    update holdfast.runs r
       set status = e.to_status, status_reason = e.word, terminal_reason = e.reason, result = e.result,
           error = e.error, error_type = e.error_type, error_message = e.error_message,
           error_fingerprint = e.error_fingerprint, worker = null, ready_ms = null, wake_ms = null, crashes = 0,
           suspect = false, updated_ms = holdfast.now_ms(%(now_ms)s), finalized_ms = holdfast.now_ms(%(now_ms)s),
           transition_seq = r.transition_seq + 1
      from (select m.* from (select o.* from ending o limit (select 1000000000)) m limit (select 1000000000)) e
     where r.shard = e.shard and r.id = e.id and r.epoch = e.epoch and r.status = e.status
    returning r.shard, r.id, r.status, r.status_reason, r.epoch, r.transition_seq, r.finalized_ms,
              r.tenant, r.workflow, r.key, r.terminal_reason, r.error_type, r.error_message,
              e.status as from_status, e.worker
), closed as (
    update holdfast.waits w
       set outcome = 'cancelled', closed_ms = m.finalized_ms
      from moved m
     where m.status <> 'stuck' and w.shard = m.shard and w.run_id = m.id and coalesce(w.outcome, '') = ''
), failed as materialized (
    -- Not seen in the journal yet. Read only if somebody is told.
    select e.run_id, e.key
      from json_to_recordset(%(entries)s::json) as e (run_id uuid, key text, kind text, status text)
     where e.kind = 'step' and e.status = 'failed'
), told as (
    insert into holdfast.outbox (
           shard, run_id, seq, subscription, tenant, workflow, key, status, reason, error_type, error_message, failed,
           ended_ms)
    select m.shard, m.id, m.transition_seq, s.name, m.tenant, m.workflow, m.key, m.status, m.terminal_reason,
           m.error_type, m.error_message,
           (select coalesce(json_agg(k.key order by k.key collate "C"), '[]'::json)
              from (select j.key from json_array_elements_text(holdfast.failed_steps(m.shard, m.id)) as j (key)
                     union
                    select f.key from failed f where f.run_id = m.id) k),
           m.finalized_ms
      from moved m
     cross join lateral (
           select u.name
             from holdfast.subscriptions u
            where u.tenant in ('', m.tenant) and u.workflow in ('', m.workflow)
           offset 0) s
        on conflict do nothing
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    select m.shard, m.id, m.transition_seq, m.from_status, m.status, m.status_reason, m.worker, m.epoch, m.finalized_ms
      from moved m
)
select holdfast.now_ms(%(now_ms)s) as now_ms,
       case when (select count(*) from owned) < (select count(*) from leases) then (
           select json_object_agg(
                      l.id, coalesce('the run is ' || r.status || ' at epoch ' || r.epoch, 'there is no such run'))
             from leases l
             left join lateral (
                  select f.status, f.epoch
                    from holdfast.runs f
                   where f.shard = %(shard)s::smallint and f.id = l.id
                   limit 1) r on true
            where l.id not in (select o.id from owned o))
       end as refused,
       (select json_agg(o.id) from owned o where o.cancel_requested) as cancel_requested
