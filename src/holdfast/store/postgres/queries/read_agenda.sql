-- What there is to do. The holders are found by leaping from one to the next, not by reading every held run, and so are
-- the codes in the lines of these queues, however many runs are in each.
-- Claimable is also what is barred and would be put back into the line by the next claim.
-- Index: runs_line once per line, runs_wake, runs_held once per holder, signals_under_way, signals_expiring,
-- bulk_jobs_running, schedules_due_ms, breakers_next_ms. Returns: one row; the claimable codes in
-- it are those that are neither asked for nor unwanted.
with recursive holders (worker) as (
    (select r.worker
       from holdfast.runs r
      where r.shard = %(shard)s::smallint and r.worker is not null
      order by r.worker
      limit 1)
    union all
    (select (select r.worker
               from holdfast.runs r
              where r.shard = %(shard)s::smallint and r.worker > h.worker
              order by r.worker
              limit 1)
       from holders h
      where h.worker is not null)
), line (queue, code) as (
    select q.queue,
           (select r.code
              from holdfast.runs r
             where r.shard = %(shard)s::smallint and r.queue = q.queue and r.ready_ms is not null and r.barred_by is null
             order by r.code
             limit 1)
      from unnest(%(queues)s::text[]) as q (queue)
    union all
    select l.queue,
           (select r.code
              from holdfast.runs r
             where r.shard = %(shard)s::smallint and r.queue = l.queue and r.code > l.code
               and r.ready_ms is not null and r.barred_by is null
             order by r.code
             limit 1)
      from line l
     where l.code is not null
), found as materialized (
    select distinct l.code from line l where l.code is not null
), moment as (
    select holdfast.now_ms(%(now_ms)s) as now_ms
)
select m.now_ms,
       exists (select from found f where f.code = any(%(codes)s::text[]))
       or exists (select from holdfast.open_bars(%(shard)s::smallint, %(queues)s::text[], 1)) as claimable,
       (select r.wake_ms
          from holdfast.runs r
         where r.shard = %(shard)s::smallint and r.wake_ms is not null
         order by r.wake_ms
         limit 1) as next_wake_ms,
       exists (select
                 from holders h
                where h.worker is not null
                  and not exists (select from holdfast.workers k
                                   where k.id = h.worker and k.lease_until_ms > m.now_ms))
       or exists (select
                    from holdfast.workers k
                   where k.lease_until_ms < m.now_ms - %(kept_ms)s::bigint
                     and not exists (select from holders h where h.worker = k.id)) as workers_lost,
       array(select f.code
               from found f
              where f.code <> all(%(codes)s::text[]) and f.code <> all(%(unwanted)s::text[])
              order by f.code
              limit %(unasked_max)s::bigint) as unasked,
       exists (select from holdfast.signals s where s.shard = %(shard)s::smallint and s.passed is not null)
       or exists (select
                    from holdfast.signals s
                   where s.shard = %(shard)s::smallint and s.expires_ms <= m.now_ms) as signals_due,
       exists (select
                 from holdfast.bulk_jobs b
                where b.status = 'running' and b.next_ms <= m.now_ms) as bulk_due,
       (select s.due_ms from holdfast.schedules s where s.due_ms is not null order by s.due_ms limit 1) as next_tick_ms,
       (select b.next_ms from holdfast.breakers b where b.next_ms is not null order by b.next_ms limit 1) as next_breaker_ms
  from moment m
