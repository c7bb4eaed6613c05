-- The database's time, and how many claimable runs of the same queue are served before this one, up to the limit.
-- Index: primary key, runs_line for each workflow of the queue. Returns: one row.
select holdfast.now_ms(%(now_ms)s) as now_ms,
       (select count(*)
          from (select
                  from holdfast.runs o
                  join holdfast.runs r
                    on r.shard = %(shard)s::smallint and r.queue = o.queue and r.ready_ms is not null
                   and (-r.priority, r.ready_ms, r.id) < (-o.priority, o.ready_ms, o.id)
                 where o.shard = %(shard)s::smallint and o.id = %(id)s::uuid and o.ready_ms is not null
                 limit %(limit)s::bigint) before) as ahead
