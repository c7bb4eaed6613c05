-- Lock runs whose holder's lease has run out, or who is not known at all; those that others are at are passed over.
-- Index: runs_held, once per holder and then for the lost ones. Returns: their ids.
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
)
select r.id
  from holders h
  join holdfast.runs r on r.shard = %(shard)s::smallint and r.worker = h.worker
 where h.worker is not null
   and not exists (select from holdfast.workers k
                    where k.id = h.worker and k.lease_until_ms > holdfast.now_ms(%(now_ms)s))
 order by r.id
 limit %(limit)s
   for no key update of r skip locked
