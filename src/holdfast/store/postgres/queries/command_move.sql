-- Write what a command makes of a locked run, with its transition; if it ends the run, close what that waited for,
-- and tell who is subscribed.
-- A statement of its own after the one that locked the run.
-- Guard: the run is where it was when it was decided what to do: its status, its epoch and its holder;
-- it follows the version that was seen, and has not been moved since by anything, if the decision depends on that.
-- Index: primary keys, waits_open. Returns: one row, how many runs were moved: one.
with moved as (
    update holdfast.runs r
       set status = %(status)s, status_reason = %(status_reason)s, terminal_reason = %(terminal_reason)s,
           error = case when %(keeps_error)s::boolean then r.error end,
           error_type = case when %(keeps_error)s::boolean then r.error_type end,
           error_message = case when %(keeps_error)s::boolean then r.error_message end,
           error_fingerprint = case when %(keeps_error)s::boolean then r.error_fingerprint end, queue = %(queue)s,
           priority = %(priority)s::smallint, worker = %(worker)s, epoch = %(epoch)s::bigint,
           crashes = %(crashes)s::integer, suspect = %(crashes)s::integer >= 2,
           cancel_requested = %(cancel_requested)s::boolean, cancel_compensates = %(cancel_compensates)s::boolean,
           pause_requested = %(pause_requested)s::boolean, ready_ms = %(ready_ms)s::bigint,
           wake_ms = %(wake_ms)s::bigint, kept_wake_ms = %(kept_wake_ms)s::bigint, barred_by = null,
           aside_until_ms = %(aside_until_ms)s::bigint,
           deadline_ms = %(deadline_ms)s::bigint, finalized_ms = %(finalized_ms)s::bigint,
           updated_ms = %(updated_ms)s::bigint, version = %(version)s::integer,
           definition_hash = %(definition_hash)s, transition_seq = r.transition_seq + 1
     where r.shard = %(shard)s::smallint and r.id = %(id)s::uuid and r.tenant is not distinct from %(tenant)s
       and r.status is not distinct from %(from_status)s and r.epoch = %(from_epoch)s::bigint
       and r.worker is not distinct from %(from_worker)s::text
       and r.definition_hash is not distinct from %(from_hash)s::text
       and (%(seen_seq)s::bigint is null or r.transition_seq = %(seen_seq)s::bigint)
    returning r.shard, r.id, r.status, r.status_reason, r.epoch, r.transition_seq, r.updated_ms,
              case when %(ends)s::boolean then holdfast.tell_end(r, '[]'::json) end as told
), closed as (
    update holdfast.waits w
       set outcome = 'cancelled', closed_ms = m.updated_ms
      from moved m
     where %(ends)s::boolean and w.shard = m.shard and w.run_id = m.id and coalesce(w.outcome, '') = ''
), logged as (
    insert into holdfast.transitions (
           shard, run_id, seq, from_status, to_status, reason, key, worker, epoch, at_ms, actor, note, command_id, moved)
    select m.shard, m.id, m.transition_seq, %(from_status)s, m.status, m.status_reason, %(key)s,
           coalesce(%(worker)s::text, %(from_worker)s::text), m.epoch, m.updated_ms, %(actor)s, %(note)s,
           %(command_id)s::uuid, %(moved)s::json
      from moved m
)
select count(*) as moved from moved
