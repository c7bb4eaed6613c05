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
     where r.shard = e.shard and r.id = e.id and r.epoch = e.epoch
    returning r.shard, r.id, r.status, r.status_reason, r.epoch, r.transition_seq, r.finalized_ms,
              e.status as from_status, e.worker,
              case when exists (select from holdfast.subscriptions s where s.tenant in ('', r.tenant))
                   then holdfast.tell_end(r, %(entries)s::json) end as told
), closed as (
    update holdfast.waits w
       set outcome = 'cancelled', closed_ms = m.finalized_ms
      from moved m
     where m.status <> 'stuck' and w.shard = m.shard and w.run_id = m.id and coalesce(w.outcome, '') = ''
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    select m.shard, m.id, m.transition_seq, m.from_status, m.status, m.status_reason, m.worker, m.epoch, m.finalized_ms
      from moved m
)
select holdfast.now_ms(%(now_ms)s) as now_ms,
       case when (select count(*) from owned) < (select count(*) from leases)
            then holdfast.refused_leases(
                     %(leases)s::json, %(shard)s::smallint, array(select o.id from owned o)) end as refused,
       (select json_agg(o.id) from owned o where o.cancel_requested) as cancel_requested
