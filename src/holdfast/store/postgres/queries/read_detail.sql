-- The database's time, and how many claimable runs of the same queue are served before this one, up to the limit.
-- The codes in the line are found by leaping from one to the next; of each, only those are read that come before.
-- Index: primary key, runs_line once or twice per line. Returns: one row.
with recursive one as materialized (
    select o.queue, o.priority, o.ready_ms, o.id
      from holdfast.runs o
     where o.shard = %(shard)s::smallint and o.id = %(id)s::uuid and o.ready_ms is not null
), line (code, suspect) as (
    select f.code, f.suspect
      from one
     cross join lateral (
           select r.code, r.suspect
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.queue = one.queue and r.ready_ms is not null
              and r.barred_by is null
            order by r.code, r.suspect
            limit 1) f
    union all
    select n.code, n.suspect
      from line l
     cross join one
     cross join lateral (
           select r.code, r.suspect
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.queue = one.queue and r.ready_ms is not null
              and r.barred_by is null
              and (r.code, r.suspect) > (l.code, l.suspect)
            order by r.code, r.suspect
            limit 1) n
)
select holdfast.now_ms(%(now_ms)s) as now_ms,
       (select count(*)
          from (select
                  from one
                 cross join line l
                 cross join lateral (
                       (select
                          from holdfast.runs r
                         where r.shard = %(shard)s::smallint and r.queue = one.queue and r.code = l.code
                           and r.suspect = l.suspect and r.ready_ms is not null
                           and r.barred_by is null and r.priority > one.priority
                         limit %(limit)s::bigint)
                       union all
                       (select
                          from holdfast.runs r
                         where r.shard = %(shard)s::smallint and r.queue = one.queue and r.code = l.code
                           and r.suspect = l.suspect and r.ready_ms is not null
                           and r.barred_by is null and r.priority = one.priority
                           and (r.ready_ms, r.id) < (one.ready_ms, one.id)
                         limit %(limit)s::bigint)) b
                 limit %(limit)s::bigint) before) as ahead
