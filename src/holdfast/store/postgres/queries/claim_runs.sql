-- Take claimable runs for a worker, each under a new epoch.
-- A line is one (queue, code), suspects apart. What each line could give is merged into the order of service,
-- without locks; that tells how many to take from each line, and these are locked. Runs that others are claiming are
-- passed over, so the next in the same line are taken instead.
-- What is paused, or more than its tenant's quota or its queue's limit, is barred: it leaves the line that claims read,
-- and is looked at again by claim_runs_readmit. Tenants and queues with limits are counted one claim after the other
-- (claim_rooms).
-- Guard: still claimable, not paused, within quota and limit; the worker's lease has not run out.
-- Index: runs_line, once per line and step; primary keys; tenants_limited, runs_barred, runs_held.
-- Returns: the database's time and what a worker needs to begin, one row per run, in the order of service; on each row
-- the queues of the runs that were barred, whether any were before, and whether anything can bar runs at all.
with lines as (
    select q.queue, c.code, s.suspect
      from unnest(%(queues)s::text[]) as q (queue)
     cross join unnest(%(codes)s::text[]) as c (code)
     cross join (values (false), (true)) as s (suspect)
     where (not s.suspect or %(suspects)s::bigint > 0)
       and exists (select from holdfast.workers k
                    where k.id = %(worker)s and k.lease_until_ms > holdfast.now_ms(%(now_ms)s))
), heads as (
    select l.*, h.priority, h.ready_ms, h.id,
           row_number() over (partition by l.suspect order by h.priority desc, h.ready_ms, h.id) as place
      from lines l
     cross join lateral (
           select r.priority, r.ready_ms, r.id
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.queue = l.queue and r.code = l.code
              and r.suspect = l.suspect and r.ready_ms is not null and r.barred_by is null
            order by r.priority desc, r.ready_ms, r.id
            limit %(look)s::bigint) h
), shares as (
    select f.queue, f.code, f.suspect, count(*) as room
      from (select h.queue, h.code, h.suspect
              from heads h
             where not h.suspect or h.place <= %(suspects)s::bigint
             order by h.priority desc, h.ready_ms, h.id
             limit %(look)s::bigint) f
     group by f.queue, f.code, f.suspect
), picked as materialized (
    select p.*
      from shares s
     cross join lateral (
           select r.shard, r.id, r.status, r.priority, r.ready_ms, r.tenant, r.queue, r.workflow
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.queue = s.queue and r.code = s.code
              and r.suspect = s.suspect and r.ready_ms is not null and r.barred_by is null
            order by r.priority desc, r.ready_ms, r.id
            limit s.room
              for no key update of r skip locked) p
), paused as materialized (
    select p.*,
           (select min(b.bar)
              from holdfast.pauses b
             where b.tenant = p.tenant
               and b.bar in ('tenant', 'queue:' || p.queue, 'workflow:' || p.workflow)) as bar
      -- More than any claim looks at; after statistics of one long line the planner would expect all of it here.
      from (select o.* from picked o limit 10000) p
), rooms as materialized (
    select m.tenant, m.queue, m.room
      from holdfast.claim_rooms(array(
               select distinct t.tenant
                 from holdfast.tenants t
                where t.running_max is not null
                  and t.tenant = any(array(select p.tenant from paused p where p.bar is null))
                order by t.tenant), array(
               select q
                 from holdfast.queues q
                where q.tenant = any(array(select p.tenant from paused p where p.bar is null))
                  and q.queue = any(array(select p.queue from paused p where p.bar is null))
                order by q.tenant, q.queue), %(shard)s::smallint) m
), placed as materialized (
    select p.*, m.room is not null as is_place,
           coalesce(p.bar, case when row_number() over (partition by p.tenant, p.queue, p.bar
                                       order by p.priority desc, p.ready_ms, p.id) > m.room
                                then 'limit:' || p.queue end) as limited_by
      from paused p
      left join rooms m on m.tenant = p.tenant and m.queue = p.queue
), judged as materialized (
    select p.*, p.is_place or m.room is not null as counted,
           coalesce(p.limited_by, case when row_number() over (partition by p.tenant, p.limited_by
                                              order by p.priority desc, p.ready_ms, p.id) > m.room
                                       then 'quota:' || p.queue end) as barred_by
      from placed p
      left join rooms m on m.tenant = p.tenant and m.queue is null
), moment as (
    select holdfast.now_ms(%(now_ms)s) as now_ms
), claimed as (
    update holdfast.runs r
       set status = case when p.status = 'queued' then 'running' else p.status end,
           status_reason = 'claimed', worker = %(worker)s, epoch = r.epoch + 1, ready_ms = null, wake_ms = null,
           updated_ms = p.now_ms,
           started_ms = coalesce(r.started_ms, greatest(p.now_ms, r.created_ms)),
           transition_seq = r.transition_seq + 1
      from (select m.*
              from (select o.*, n.now_ms
                      from judged o
                     cross join moment n
                     where o.barred_by is null
                     order by o.priority desc, o.ready_ms, o.id
                     limit %(limit)s::bigint) m
             limit (select 1000000000)) p
     where r.shard = p.shard and r.id = p.id and r.ready_ms is not null
    returning r.shard, r.id, r.tenant, r.workflow, r.queue, r.status, r.input, r.error, r.key, r.root_id, r.attempt,
              r.epoch, r.crashes, r.cancel_requested, r.version, r.definition_hash, r.created_ms, r.deadline_ms,
              r.cancel_compensates, r.pause_requested, r.parent_id, r.transition_seq, r.updated_ms,
              p.status as from_status, p.priority, p.ready_ms, p.counted
), barred as (
    update holdfast.runs r
       set barred_by = j.barred_by
      from (select m.*
              from (select n.*
                      from (select o.* from judged o where o.barred_by is not null limit %(look)s::bigint) n
                     limit (select 1000000000)) m
             limit (select 1000000000)) j
     where r.shard = j.shard and r.id = j.id and r.ready_ms is not null
    returning r.queue
), logged as (
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
    select c.shard, c.id, c.transition_seq, c.from_status, c.status, 'claimed', %(worker)s, c.epoch, c.updated_ms
      from claimed c
)
select m.now_ms, c.id, c.tenant, c.workflow, c.queue, c.status, c.input, c.error, c.key, c.root_id, c.attempt, c.epoch,
       c.crashes, c.cancel_requested, c.created_ms, c.deadline_ms, c.priority, c.version, c.definition_hash,
       c.cancel_compensates, c.pause_requested, c.parent_id, c.ready_ms, c.counted, b.barred, b.before,
       b.before or exists (select from holdfast.pauses)
           or exists (select from holdfast.tenants t where t.running_max is not null)
           or exists (select from holdfast.queues) as restricted
  from moment m
 cross join (select (select array_agg(distinct n.queue) from barred n) as barred,
                    (select true
                       from holdfast.runs r
                      where r.shard = %(shard)s::smallint and r.barred_by is not null
                      order by r.tenant, r.barred_by
                      limit 1) is not null as before) b
  left join claimed c on true
 order by c.priority desc, c.ready_ms, c.id
