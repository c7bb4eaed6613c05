-- What there is to do. The holders are found by leaping from one to the next, not by reading every held run.
-- Index: runs_line once per line, runs_wake, runs_held once per holder. Returns: one row.
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
), moment as (
    select holdfast.now_ms(%(now_ms)s) as now_ms
)
select m.now_ms,
       exists (select
                 from unnest(%(queues)s::text[]) as q (queue)
                cross join unnest(%(workflows)s::text[]) as w (workflow)
                cross join (values (false), (true)) as s (suspect)
                cross join lateral (
                      select r.id
                        from holdfast.runs r
                       where r.shard = %(shard)s::smallint and r.queue = q.queue and r.workflow = w.workflow
                         and r.suspect = s.suspect and r.ready_ms is not null
                       order by r.priority desc, r.ready_ms, r.id
                       limit 1) r) as claimable,
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
                     and not exists (select from holders h where h.worker = k.id)) as workers_lost
  from moment m
